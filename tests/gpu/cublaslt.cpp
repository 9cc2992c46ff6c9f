// A stand-in for cuBLASLt, for tests: matrix products as its manual defines them, in double precision, on the streams of
// the stand-in for the driver. It takes on Hopper what the manual says that cuBLASLt takes.
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

using u64 = uint64_t;
#define API extern "C" __attribute__((visibility("default")))

API void standin_enqueue(void* stream, void (*f)(void*), void* data);
API void standin_expect_live(u64 address, u64 bytes);

enum { OK = 0, INVALID = 7, NOT_SUPPORTED = 15 };
enum Type { F32 = 0, F16 = 2, BF16 = 14, E4M3 = 28, E5M2 = 29 };
enum Mode { TENSOR = 0, VEC128 = 4, BLK128 = 5 };

struct Description {
    int transposed[2] = {}, pointer_mode = 0;
    signed char fast = 0;
    const float* scales[2] = {};
    int modes[2] = {};
};
struct Layout {
    int type;
    u64 rows, cols;
    int64_t ld;
    u64 width() const { return type >= E4M3 ? 1 : type == F32 ? 4 : 2; }
};
struct Preference {
    u64 workspace = 0;
    unsigned reductions = 7, alignments[4] = {256, 256, 256, 256};
};
struct Algorithm {
    u64 data[8];
};
struct Proposal {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
};

template <class T> static int set(T& field, const void* value, size_t bytes) {
    if (bytes != sizeof field) return INVALID;
    return memcpy(&field, value, bytes), OK;
}

API size_t cublasLtGetVersion() { return 130700; }
API int cublasLtCreate(void** handle) { return *handle = new int, OK; }
API int cublasLtDestroy(void* handle) { return delete static_cast<int*>(handle), OK; }
API int cublasLtMatmulDescCreate(void** d, int compute, int scale) {
    if (compute != 68 || scale != F32) return INVALID;
    return *d = new Description, OK;
}
API int cublasLtMatmulDescDestroy(void* d) { return delete static_cast<Description*>(d), OK; }
API int cublasLtMatmulDescSetAttribute(Description* d, int which, const void* value, size_t bytes) {
    switch (which) {
    case 2: return set(d->pointer_mode, value, bytes);
    case 3: return set(d->transposed[0], value, bytes);
    case 4: return set(d->transposed[1], value, bytes);
    case 17: return set(d->scales[0], value, bytes);
    case 18: return set(d->scales[1], value, bytes);
    case 25: return set(d->fast, value, bytes);
    case 31: return set(d->modes[0], value, bytes);
    case 32: return set(d->modes[1], value, bytes);
    default: return INVALID;
    }
}
API int cublasLtMatrixLayoutCreate(void** layout, int type, u64 rows, u64 cols, int64_t ld) {
    return *layout = new Layout{type, rows, cols, ld}, OK;
}
API int cublasLtMatrixLayoutDestroy(void* layout) { return delete static_cast<Layout*>(layout), OK; }
API int cublasLtMatmulPreferenceCreate(void** p) { return *p = new Preference, OK; }
API int cublasLtMatmulPreferenceDestroy(void* p) { return delete static_cast<Preference*>(p), OK; }
API int cublasLtMatmulPreferenceSetAttribute(Preference* p, int which, const void* value, size_t bytes) {
    if (which == 1) return set(p->workspace, value, bytes);
    if (which == 3) return set(p->reductions, value, bytes);
    if (which >= 5 && which <= 8) return set(p->alignments[which - 5], value, bytes);
    return INVALID;
}

static bool is_supported(const Description& d, const Layout& a, const Layout& b, const Layout& c) {
    const bool is_fp8 = a.type >= E4M3;
    if (is_fp8 != (b.type >= E4M3) || (!is_fp8 && a.type != b.type)) return false;
    if (a.type == F16 && c.type == BF16) return false;
    if (!is_fp8) return !d.scales[0] && !d.scales[1];
    if (a.type == E5M2 && b.type == E5M2) return false;
    if (!d.transposed[0] || d.transposed[1]) return false;
    if (a.ld % 16 || b.ld % 16 || c.ld * c.width() % 16) return false;
    const bool has_blocks = d.modes[0] != TENSOR || d.modes[1] != TENSOR;
    return !has_blocks || (d.modes[0] * d.modes[1] >= 16 && d.modes[0] + d.modes[1] < 10 && !d.fast && d.scales[0] &&
                           d.scales[1] && c.rows % 4 == 0 && c.cols % 4 == 0 &&
                           reinterpret_cast<u64>(d.scales[0]) % 16 == 0 && reinterpret_cast<u64>(d.scales[1]) % 16 == 0);
}
// The fastest splits k, whatever the preference: it must not be taken.
API int cublasLtMatmulAlgoGetHeuristic(void*, Description* d, Layout* a, Layout* b, Layout* c, Layout* out, Preference* p,
                                       int room, Proposal* proposals, int* count) {
    *count = 0;
    if (!is_supported(*d, *a, *b, *c) || memcmp(c, out, sizeof *c)) return NOT_SUPPORTED;
    if (p->reductions != 0 || room < 2) return INVALID;
    for (unsigned alignment : p->alignments)
        if (a->type >= E4M3 && alignment < 16) return NOT_SUPPORTED;
    for (u64 parts = 2; parts >= 1; parts--) {
        proposals[(*count)++] = {{{parts, p->alignments[0], p->alignments[1], p->alignments[3]}}, p->workspace, OK, 1, {}};
    }
    return OK;
}
API int cublasLtMatmulAlgoConfigGetAttribute(const Algorithm* algorithm, int which, void* value, size_t bytes,
                                             size_t* written) {
    if (which != 2 || bytes != 4) return INVALID;
    const int parts = int(algorithm->data[0]);
    return memcpy(value, &parts, *written = 4), OK;
}

static double decode(int type, const void* data, u64 i) {
    const auto bytes = static_cast<const uint8_t*>(data);
    uint32_t code = 0;
    if (type == F32 || type == BF16) {
        float x;
        if (type == F32) memcpy(&code, bytes + 4 * i, 4);
        else code = static_cast<const uint16_t*>(data)[i] << 16;
        return memcpy(&x, &code, 4), x;
    }
    const int fraction = type == F16 ? 10 : type == E4M3 ? 3 : 2, exponents = type == E4M3 ? 4 : 5;
    code = type == F16 ? static_cast<const uint16_t*>(data)[i] : bytes[i];
    const int exponent = code >> fraction & ((1 << exponents) - 1), bias = (1 << (exponents - 1)) - 1;
    const double significand = (code & ((1 << fraction) - 1)) + (exponent ? 1 << fraction : 0);
    const double x = ldexp(significand, (exponent ? exponent : 1) - bias - fraction);
    return code >> (fraction + exponents) ? -x : x;
}
static void encode(int type, void* data, u64 i, float x) {
    uint32_t bits;
    memcpy(&bits, &x, 4);
    if (type == F32) static_cast<uint32_t*>(data)[i] = bits;
    else static_cast<uint16_t*>(data)[i] = uint16_t((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

struct Product {
    Description d;
    Layout a, b, c;
    float alpha, beta;
    const void *at_alpha, *at_beta, *at_a, *at_b;
    void* at_d;

    // What multiplies block `block` of k in row or column `i` of the result.
    double scale(int side, u64 i, u64 block, u64 k) const {
        const u64 extent = side ? c.cols : c.rows, blocks = (k + 127) / 128;
        const float* scales = d.scales[side];
        if (!scales) return 1;
        const u64 at = d.modes[side] == TENSOR ? 0 : d.modes[side] == VEC128 ? i + block * extent
                                                                             : block + i / 128 * ((blocks + 3) / 4 * 4);
        standin_expect_live(reinterpret_cast<u64>(scales + at), 4);
        return scales[at];
    }
    void run() {
        if (d.pointer_mode) alpha = *static_cast<const float*>(at_alpha), beta = *static_cast<const float*>(at_beta);
        standin_expect_live(reinterpret_cast<u64>(at_a), a.ld * a.cols * a.width());
        standin_expect_live(reinterpret_cast<u64>(at_b), b.ld * b.cols * b.width());
        standin_expect_live(reinterpret_cast<u64>(at_d), c.ld * c.cols * c.width());
        const u64 k = d.transposed[0] ? a.rows : a.cols;
        for (u64 i = 0; i < c.rows; i++) {
            for (u64 j = 0; j < c.cols; j++) {
                double sum = 0;
                for (u64 p = 0; p < k; p++) {
                    const double x = decode(a.type, at_a, d.transposed[0] ? p + i * a.ld : i + p * a.ld);
                    const double y = decode(b.type, at_b, d.transposed[1] ? j + p * b.ld : p + j * b.ld);
                    sum += x * y * scale(0, i, p / 128, k) * scale(1, j, p / 128, k);
                }
                const double before = beta != 0 ? beta * decode(c.type, at_d, i + j * c.ld) : 0;
                encode(c.type, at_d, i + j * c.ld, float(alpha * sum + before));
            }
        }
    }
};
API int cublasLtMatmul(void*, Description* d, const void* alpha, const void* a, Layout* at, const void* b, Layout* bt,
                       const void* beta, const void* c, Layout* ct, void* out, Layout* dt, const Algorithm* algorithm,
                       void* workspace, size_t bytes, void* stream) {
    if (algorithm->data[0] != 1 || c != out || memcmp(ct, dt, sizeof *ct) || bytes != 32 << 20) return INVALID;
    const u64 addresses[] = {u64(a), u64(b), u64(out)};
    for (int i = 0; i < 3; i++)
        if (addresses[i] % algorithm->data[1 + i]) return INVALID;
    if (reinterpret_cast<u64>(workspace) % 256) return INVALID;
    auto product = new Product{*d, *at, *bt, *ct, 0, 0, alpha, beta, a, b, out};
    // Numbers of the host are read now, those of the GPU when it is their turn.
    if (!d->pointer_mode) product->alpha = *static_cast<const float*>(alpha), product->beta = *static_cast<const float*>(beta);
    standin_enqueue(stream, [](void* data) {
        static_cast<Product*>(data)->run();
        delete static_cast<Product*>(data);
    }, product);
    return OK;
}
