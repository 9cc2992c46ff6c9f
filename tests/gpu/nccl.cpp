// A stand-in for NCCL, for tests, on the stand-in for the driver: it moves and reduces data between ranks that are threads
// or processes of one machine, as NCCL's manual says, and no sooner than it must.
//
// Ranks meet in a folder, which the unique id names: a message is a file that its receiver removes, and what a rank adds
// to a collective a file that all read. Nothing is buffered: what sends is done when it was received, and a collective when
// all ranks have come to it. What is on one communicator is done in the order of calls, whatever the streams. Calls on
// a communicator that does not block return before anything is enqueued; the first transfer between two ranks waits, before
// that, until both have called for it. Where ranks disagree they wait for ever. Sums go round a ring or, if NCCL_ALGO says
// Tree, along a tree. A file `error` in the folder holds the code that every communicator reports.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <fstream>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <sys/stat.h>
#include <tuple>
#include <unistd.h>
#include <vector>

using u64 = uint64_t;
using Bytes = std::string;
#define API extern "C" __attribute__((visibility("default")))

API void standin_lock();
API void standin_unlock();
API int standin_gpu();
API void standin_drive(void* stream, bool (*f)(void*), void* data);
API void standin_expect_live(u64 address, u64 bytes);

enum { OK = 0, INTERNAL = 3, INVALID_ARGUMENT = 4, INVALID_USAGE = 5, REMOTE = 6, IN_PROGRESS = 7 };
enum Type { U8 = 1, U32 = 3, U64 = 5, F16 = 6, F32 = 7, F64 = 8, BF16 = 9, E4M3 = 10, E5M2 = 11 };
enum Kind { SEND, RECEIVE, ALL_REDUCE, REDUCE, REDUCE_SCATTER, ALL_GATHER, BROADCAST };
struct Id {
    char folder[128];
};
struct Guard {
    Guard() { standin_lock(); }
    ~Guard() { standin_unlock(); }
};

static u64 width(int type) {
    static const u64 widths[] = {1, 1, 4, 4, 8, 8, 2, 4, 8, 2, 1, 1};
    return widths[type];
}

// Files, which appear whole.
static bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }
static void write(const std::string& path, const Bytes& content) {
    // Threads of a process may write at once.
    static thread_local int number;
    const auto unfinished = path + "." + std::to_string(getpid()) + "." + std::to_string(u64(&number));
    std::ofstream(unfinished, std::ios::binary) << content;
    rename(unfinished.c_str(), path.c_str());
}
static Bytes read(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return Bytes(std::istreambuf_iterator<char>(file), {});
}

// One call of a group.
struct Call {
    Kind kind;
    const void* from;
    void* to;
    u64 count;
    int type, op, peer;
    u64 number = 0;
    bool is_posted = false, is_done = false;
    u64 bytes() const { return count * width(type); }
};
struct Comm;
// What one rank called for as one, on one stream.
struct Item {
    std::shared_ptr<Comm> comm;
    std::shared_ptr<Item> before;
    std::vector<Call> calls;
    u64 number = 0;
    bool is_done = false;
};
struct Comm : std::enable_shared_from_this<Comm> {
    std::string folder;
    int size, rank, gpu, state = IN_PROGRESS;
    bool blocks, is_aborted = false;
    std::vector<int> processes;
    std::map<std::pair<Kind, int>, u64> messages;
    u64 collectives = 0, splits = 0;
    std::set<std::pair<Kind, int>> connected;
    // Called for, and not enqueued yet.
    std::vector<std::pair<std::shared_ptr<Item>, void*>> waiting;
    std::shared_ptr<Item> last;
    // A split that is not there yet: where its handle goes, and what this rank said.
    Comm** split = nullptr;
    int polls = 0;

    std::string path(const std::string& name) const { return folder + "/" + name; }
    std::string joined(int other) const { return path("rank." + std::to_string(other)); }
    std::string left(int other) const { return path("left." + std::to_string(other)); }
    std::string said(int other) const { return path("split." + std::to_string(splits) + "." + std::to_string(other)); }
    bool try_to_join();
    bool try_to_split();
    bool try_to_connect(const Call& call);
    int poll();
};
static std::map<Comm*, std::shared_ptr<Comm>>& comms() {
    static auto& all = *new std::map<Comm*, std::shared_ptr<Comm>>;
    return all;
}
static thread_local int depth = 0;
static thread_local std::vector<std::tuple<std::shared_ptr<Comm>, void*, Call>> group;

static Comm* make(std::string folder, int size, int rank, bool blocks) {
    auto comm = std::make_shared<Comm>();
    comm->folder = folder, comm->size = size, comm->rank = rank, comm->blocks = blocks;
    comm->gpu = standin_gpu();
    mkdir(folder.c_str(), 0777);
    write(comm->joined(rank), std::to_string(getpid()) + " " + std::to_string(comm->gpu));
    comms()[comm.get()] = comm;
    return comm.get();
}

// All ranks are there, each with a GPU of its own.
bool Comm::try_to_join() {
    std::set<std::string> gpus;
    for (int other = 0; other < size; other++)
        if (!exists(joined(other))) return false;
    for (int other = 0; other < size; other++) {
        const auto text = read(joined(other));
        processes.push_back(atoi(text.c_str()));
        if (!gpus.insert(text).second) return state = INVALID_USAGE, true;
    }
    return state = OK, true;
}
bool Comm::try_to_split() {
    std::map<std::pair<int, int>, int> places;
    int color = 0, own = 0;
    for (int other = 0; other < size; other++)
        if (!exists(said(other))) return false;
    sscanf(read(said(rank)).c_str(), "%d", &color);
    for (int other = 0; other < size; other++) {
        int of = 0, key = 0;
        sscanf(read(said(other)).c_str(), "%d %d", &of, &key);
        if (of == color) places[{key, other}] = other;
    }
    for (auto& [place, other] : places) {
        if (other == rank) break;
        own++;
    }
    const auto name = "split." + std::to_string(splits) + ".color." + std::to_string(color);
    if (color >= 0) *split = make(path(name), int(places.size()), own, blocks);
    split = nullptr;
    splits++;
    return true;
}
// Both sides must have called for their first transfer.
bool Comm::try_to_connect(const Call& call) {
    if ((call.kind != SEND && call.kind != RECEIVE) || call.peer == rank) return true;
    if (connected.count({call.kind, call.peer})) return true;
    const bool sends = call.kind == SEND;
    const auto way = std::to_string(sends ? rank : call.peer) + "." + std::to_string(sends ? call.peer : rank);
    const auto own = path("way." + way + (sends ? ".s" : ".r")), other = path("way." + way + (sends ? ".r" : ".s"));
    if (!exists(own)) write(own, "");
    if (!exists(other)) return false;
    connected.insert({call.kind, call.peer});
    return true;
}

// Not one that has ended and that nobody has asked for its end.
static bool is_there(int process) {
    const auto state = read("/proc/" + std::to_string(process) + "/stat");
    const auto name = state.rfind(')');
    return name != Bytes::npos && state[name + 2] != 'Z';
}

// One hop, by the project's own kernel.
static Bytes combine(const Bytes& a, const Bytes& b, int type, int op) {
    if (a.empty()) return a;
    Bytes sum(a.size(), 0);
    const u64 count = a.size() / width(type);
    if (type == U64) {
        for (u64 i = 0; i < count; i++) {
            u64 x, y;
            memcpy(&x, &a[8 * i], 8), memcpy(&y, &b[8 * i], 8);
            x += y, memcpy(&sum[8 * i], &x, 8);
        }
        return sum;
    }
    using Run = void (*)(const unsigned char*, unsigned, unsigned, unsigned, unsigned);
    static const auto run = reinterpret_cast<Run>(dlsym(dlopen(KERNELS, RTLD_NOW), "host_combine"));
    static const std::map<int, u64> types = {{F32, 0}, {F64, 1}, {F16, 2}, {BF16, 3}, {E4M3, 4}, {E5M2, 5}};
    static const u64 ops[] = {0, 1, 3, 2};
    const u64 dtype = types.at(type);
    const u64 args[] = {u64(a.data()), count, dtype, u64(b.data()), count, dtype, u64(sum.data()), count, dtype, ops[op]};
    const unsigned grid = unsigned((count + 2047) / 2048);
    run(reinterpret_cast<const unsigned char*>(args), grid, 256, 0, grid);
    return sum;
}
// Chunk c is summed on its way round from rank c + 1 to rank c.
static Bytes ring(const std::vector<Bytes>& x, u64 c, int type, int op) {
    const u64 size = x.size();
    Bytes sum = x[(c + 1) % size];
    for (u64 k = 2; k <= size; k++) sum = combine(x[(c + k) % size], sum, type, op);
    return sum;
}
static Bytes tree(const std::vector<Bytes>& x, u64 rank, int type, int op) {
    Bytes sum = x[rank];
    for (u64 child = 2 * rank + 1; child <= 2 * rank + 2 && child < x.size(); child++)
        sum = combine(sum, tree(x, child, type, op), type, op);
    return sum;
}
static std::vector<Bytes> part(const std::vector<Bytes>& x, u64 start, u64 bytes) {
    std::vector<Bytes> parts;
    for (auto& all : x) parts.push_back(all.substr(start, bytes));
    return parts;
}
static Bytes all_reduced(const std::vector<Bytes>& x, int type, int op) {
    const char* algorithm = getenv("NCCL_ALGO");
    if (algorithm && !strcmp(algorithm, "Tree")) return tree(x, 0, type, op);
    const u64 count = x[0].size() / width(type), length = (count + x.size() - 1) / x.size();
    Bytes all;
    for (u64 c = 0; c < x.size(); c++) {
        const u64 start = std::min(c * length, count), end = std::min((c + 1) * length, count);
        all += ring(part(x, start * width(type), (end - start) * width(type)), c, type, op);
    }
    return all;
}

static void deliver(void* to, const Bytes& content) {
    standin_expect_live(u64(to), content.size());
    memcpy(to, content.data(), content.size());
}
static Bytes taken(const void* from, u64 bytes) {
    standin_expect_live(u64(from), bytes);
    return Bytes(static_cast<const char*>(from), bytes);
}

// A transfer is a file from its sender to its receiver.
static bool transfer(Comm& comm, Call& call) {
    const bool sends = call.kind == SEND;
    const auto way = std::to_string(sends ? comm.rank : call.peer) + "." + std::to_string(sends ? call.peer : comm.rank);
    const auto path = comm.path("message." + way + "." + std::to_string(call.number));
    if (sends && !call.is_posted) write(path, taken(call.from, call.bytes())), call.is_posted = true;
    if (sends) return !exists(path);
    if (!exists(path)) return false;
    const auto content = read(path);
    if (content.size() != call.bytes()) return false;
    deliver(call.to, content);
    unlink(path.c_str());
    return true;
}
// What this rank adds to a collective.
static Bytes added(const Comm& comm, const Call& call) {
    switch (call.kind) {
    case REDUCE_SCATTER: return taken(call.from, call.bytes() * comm.size);
    case BROADCAST: return comm.rank == call.peer ? taken(call.from, call.bytes()) : Bytes();
    default: return taken(call.from, call.bytes());
    }
}
static void finish(const Comm& comm, const Call& call, const std::vector<Bytes>& x) {
    const u64 bytes = call.bytes(), rank = u64(comm.rank);
    switch (call.kind) {
    case ALL_REDUCE: return deliver(call.to, all_reduced(x, call.type, call.op));
    case REDUCE: return rank == u64(call.peer) ? deliver(call.to, ring(x, rank, call.type, call.op)) : void();
    case REDUCE_SCATTER: return deliver(call.to, ring(part(x, rank * bytes, bytes), rank, call.type, call.op));
    case ALL_GATHER: {
        Bytes all;
        for (auto& one : x) all += one;
        return deliver(call.to, all);
    }
    case BROADCAST: return deliver(call.to, x[call.peer]);
    default: abort();
    }
}
static bool collect(Comm& comm, const Item& item, Call& call) {
    const auto name = [&](u64 number, int rank) {
        const u64 index = u64(&call - item.calls.data());
        return comm.path("part." + std::to_string(number) + "." + std::to_string(index) + "." + std::to_string(rank));
    };
    int fields[] = {call.kind, int(call.count), call.type, call.op, call.peer};
    const Bytes header(reinterpret_cast<const char*>(fields), sizeof fields);
    if (!call.is_posted) {
        write(name(item.number, comm.rank), header + added(comm, call));
        call.is_posted = true;
        // All are done with what they were at before they came to the last one.
        if (item.number >= 2) unlink(name(item.number - 2, comm.rank).c_str());
    }
    for (int rank = 0; rank < comm.size; rank++)
        if (!exists(name(item.number, rank))) return false;
    std::vector<Bytes> x;
    for (int rank = 0; rank < comm.size; rank++) {
        const auto content = read(name(item.number, rank));
        if (content.substr(0, header.size()) != header) return false;
        x.push_back(content.substr(header.size()));
    }
    return finish(comm, call, x), true;
}
static bool run(void* data) {
    auto& item = **static_cast<std::shared_ptr<Item>*>(data);
    auto& comm = *item.comm;
    if (comm.is_aborted) return item.is_done = true;
    if (item.before && !item.before->is_done) return false;
    item.before.reset();
    bool is_done = true;
    for (auto& call : item.calls) {
        const bool is_transfer = call.kind == SEND || call.kind == RECEIVE;
        if (!call.is_done) call.is_done = is_transfer ? transfer(comm, call) : collect(comm, item, call);
        is_done &= call.is_done;
    }
    return item.is_done = is_done;
}

// How far the communicator has come: work is enqueued here, at the second look, when all is there that it needs.
int Comm::poll() {
    if (exists(path("error"))) return atoi(read(path("error")).c_str());
    if (state == IN_PROGRESS && !try_to_join()) return IN_PROGRESS;
    if (state != OK) return state;
    for (int other = 0; other < size; other++)
        if (processes[other] != getpid() && !exists(left(other)) && !is_there(processes[other])) return REMOTE;
    if (split && !try_to_split()) return IN_PROGRESS;
    if (!waiting.empty() && polls++ == 0 && !blocks) return IN_PROGRESS;
    bool is_connected = true;
    for (auto& [item, stream] : waiting)
        for (auto& call : item->calls) is_connected &= try_to_connect(call);
    if (!is_connected) return IN_PROGRESS;
    for (auto& [item, stream] : waiting) standin_drive(stream, run, new std::shared_ptr<Item>(item));
    waiting.clear();
    polls = 0;
    return OK;
}
static int settled(Comm* comm) {
    int state;
    while ((state = comm->poll()) == IN_PROGRESS && comm->blocks) {
        standin_unlock();
        usleep(100);
        standin_lock();
    }
    return state;
}

static int end_group() {
    std::map<Comm*, std::shared_ptr<Item>> items;
    std::vector<Comm*> order;
    std::map<Comm*, void*> streams;
    for (auto& [comm, stream, call] : group) {
        auto& item = items[comm.get()];
        if (!item) {
            item = std::make_shared<Item>();
            item->comm = comm, item->before = comm->last;
            order.push_back(comm.get());
            streams[comm.get()] = stream;
        }
        if (streams[comm.get()] != stream || !comm->waiting.empty()) return group.clear(), INVALID_USAGE;
        if (call.kind == SEND || call.kind == RECEIVE) call.number = comm->messages[{call.kind, call.peer}]++;
        item->calls.push_back(call);
    }
    group.clear();
    int result = OK;
    for (auto comm : order) {
        auto& item = items[comm];
        const bool is_collective = item->calls[0].kind != SEND && item->calls[0].kind != RECEIVE;
        if (is_collective) item->number = comm->collectives++;
        comm->waiting.push_back({item, streams[comm]});
        comm->last = item;
        const int state = settled(comm);
        if (state != OK) result = state;
    }
    return result;
}
static int enqueue(Comm* comm, void* stream, Call call) {
    Guard guard;
    if (!comms().count(comm) || comm->is_aborted || call.type > E5M2) return INVALID_ARGUMENT;
    if (call.op == 4 || call.peer < 0 || call.peer >= comm->size) return INVALID_ARGUMENT;
    if (standin_gpu() != comm->gpu) return INVALID_USAGE;
    if (comm->state != OK) return INVALID_USAGE;
    group.push_back({comm->shared_from_this(), stream, call});
    return depth ? OK : end_group();
}

struct Config {
    size_t size;
    unsigned magic, version;
    int blocking;
};

API int ncclGetVersion(int* version) { return *version = 22707, OK; }
API int ncclGetUniqueId(Id* id) {
    const char* parent = getenv("STANDIN_NCCL");
    snprintf(id->folder, sizeof id->folder, "%s/world.XXXXXX", parent ? parent : "/tmp");
    return mkdtemp(id->folder) ? OK : INTERNAL;
}
API const char* ncclGetErrorString(int code) {
    static const char* texts[] = {"no error",       "unhandled cuda error", "unhandled system error",
                                  "internal error", "invalid argument",     "invalid usage",
                                  "remote process exited or there was a network error"};
    return code >= 0 && code <= REMOTE ? texts[code] : "NCCL operation in progress";
}
API const char* ncclGetLastError(Comm*) { return ""; }
API int ncclCommInitRankConfig(Comm** comm, int size, Id id, int rank, const Config* config) {
    Guard guard;
    if (rank < 0 || rank >= size || config->magic != 0xcafebeef || standin_gpu() < 0) return INVALID_ARGUMENT;
    const bool blocks = config->blocking != 0;
    *comm = make(id.folder, size, rank, blocks);
    return settled(*comm);
}
API int ncclCommInitRank(Comm** comm, int size, Id id, int rank) {
    const Config config = {sizeof config, 0xcafebeef, 22700, 1};
    return ncclCommInitRankConfig(comm, size, id, rank, &config);
}
API int ncclCommSplit(Comm* comm, int color, int key, Comm** child, const Config* config) {
    Guard guard;
    if (config || comm->split || comm->state != OK) return INVALID_USAGE;
    *child = nullptr;
    comm->split = child;
    write(comm->said(comm->rank), std::to_string(color) + " " + std::to_string(key));
    const int state = settled(comm);
    return state == IN_PROGRESS ? OK : state;
}
API int ncclCommGetAsyncError(Comm* comm, int* state) {
    Guard guard;
    return *state = comm->poll(), OK;
}
// What is under way was waited for by whoever destroys, or is broken off.
static int end(Comm* comm) {
    Guard guard;
    comm->is_aborted = true;
    comm->waiting.clear();
    comms().erase(comm);
    return OK;
}
API int ncclCommDestroy(Comm* comm) {
    {
        Guard guard;
        write(comm->left(comm->rank), "");
    }
    return end(comm);
}
API int ncclCommAbort(Comm* comm) { return end(comm); }
API int ncclCommFinalize(Comm* comm) {
    Guard guard;
    return comm->last && !comm->last->is_done ? IN_PROGRESS : OK;
}
API int ncclCommCount(const Comm* comm, int* size) { return *size = comm->size, OK; }
API int ncclCommUserRank(const Comm* comm, int* rank) { return *rank = comm->rank, OK; }
API int ncclCommCuDevice(const Comm* comm, int* gpu) { return *gpu = comm->gpu, OK; }
API int ncclGroupStart() { return depth++, OK; }
API int ncclGroupEnd() {
    Guard guard;
    return --depth ? OK : end_group();
}
API int ncclSend(const void* from, size_t count, int type, int peer, Comm* comm, void* stream) {
    return enqueue(comm, stream, {SEND, from, nullptr, count, type, 0, peer});
}
API int ncclRecv(void* to, size_t count, int type, int peer, Comm* comm, void* stream) {
    return enqueue(comm, stream, {RECEIVE, nullptr, to, count, type, 0, peer});
}
API int ncclAllReduce(const void* from, void* to, size_t count, int type, int op, Comm* comm, void* stream) {
    return enqueue(comm, stream, {ALL_REDUCE, from, to, count, type, op, 0});
}
API int ncclReduce(const void* from, void* to, size_t count, int type, int op, int root, Comm* comm, void* stream) {
    return enqueue(comm, stream, {REDUCE, from, to, count, type, op, root});
}
API int ncclReduceScatter(const void* from, void* to, size_t count, int type, int op, Comm* comm, void* stream) {
    return enqueue(comm, stream, {REDUCE_SCATTER, from, to, count, type, op, 0});
}
API int ncclAllGather(const void* from, void* to, size_t count, int type, Comm* comm, void* stream) {
    return enqueue(comm, stream, {ALL_GATHER, from, to, count, type, 0, 0});
}
API int ncclBroadcast(const void* from, void* to, size_t count, int type, int root, Comm* comm, void* stream) {
    return enqueue(comm, stream, {BROADCAST, from, to, count, type, 0, root});
}
