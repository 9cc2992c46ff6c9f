/* A stand-in for NCCL with its interface and names: it moves nothing, notes every call, and fails on demand.
 *
 * VERSION is what ncclGetVersion says. OLD leaves out what came after 2.7, WITHOUT_RECV leaves out ncclRecv. */

#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef VERSION
#define VERSION 22707
#endif

typedef struct ncclComm {
    int id, size, rank, blocking;
} *ncclComm_t;
typedef struct { char internal[128]; } ncclUniqueId;
typedef enum { ncclSuccess = 0, ncclInvalidArgument = 4, ncclInvalidUsage = 5, ncclInProgress = 7 } ncclResult_t;
typedef enum { ncclSum = 0, ncclProd = 1, ncclMax = 2, ncclMin = 3, ncclAvg = 4 } ncclRedOp_t;
typedef enum {
    ncclInt8 = 0, ncclUint8 = 1, ncclInt32 = 2, ncclUint32 = 3, ncclInt64 = 4, ncclUint64 = 5,
    ncclFloat16 = 6, ncclFloat32 = 7, ncclFloat64 = 8, ncclBfloat16 = 9,
    ncclFloat8e4m3 = 10, ncclFloat8e5m2 = 11
} ncclDataType_t;
typedef void *cudaStream_t;
typedef struct {
    size_t size;
    unsigned int magic, version;
    int blocking, cgaClusterSize, minCTAs, maxCTAs;
    const char *netName;
    int splitShare, trafficClass;
    const char *commName;
    int collnetEnable, CTAPolicy, shrinkShare, nvlsCTAs;
} ncclConfig_t;

static char record[1 << 16], failing[64], last_error[64];
static ncclResult_t failure, state;
static int num_comms, depth;
static ncclComm_t *unwritten, unborn;

/* For the tests. */

const char *mock_record(void) { return record; }
void mock_forget(void) { record[0] = 0; }
void mock_fail(const char *function, int code) {
    snprintf(failing, sizeof failing, "%s", function);
    snprintf(last_error, sizeof last_error, "told to fail\n");
    failure = code;
}
void mock_become(int code) { state = code; }
void mock_finish_split(void) {
    *unwritten = unborn;
    state = ncclSuccess;
}

/* Notes a call, and tells whether it is to fail. */
static ncclResult_t called(const char *function, const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    size_t length = strlen(record);
    length += snprintf(record + length, sizeof record - length, "%s", function + strlen("nccl"));
    vsnprintf(record + length, sizeof record - length, format, arguments);
    strcat(record, "\n");
    va_end(arguments);
    return strcmp(function, failing) ? ncclSuccess : failure;
}

static int id(ncclComm_t comm) { return comm ? comm->id : 0; }

static ncclComm_t make(int size, int rank, int blocking) {
    ncclComm_t comm = malloc(sizeof *comm);
    *comm = (struct ncclComm){ ++num_comms, size, rank, blocking };
    return comm;
}

static const char *type(ncclDataType_t type) {
    switch (type) {
    case ncclInt8: return "int8";
    case ncclUint8: return "uint8";
    case ncclInt32: return "int32";
    case ncclUint32: return "uint32";
    case ncclInt64: return "int64";
    case ncclUint64: return "uint64";
    case ncclFloat16: return "float16";
    case ncclFloat32: return "float32";
    case ncclFloat64: return "float64";
    case ncclBfloat16: return "bfloat16";
    case ncclFloat8e4m3: return "float8e4m3";
    case ncclFloat8e5m2: return "float8e5m2";
    }
    return "?";
}

static const char *operation(ncclRedOp_t op) {
    switch (op) {
    case ncclSum: return "sum";
    case ncclProd: return "prod";
    case ncclMax: return "max";
    case ncclMin: return "min";
    case ncclAvg: return "avg";
    }
    return "?";
}

/* The library. */

ncclResult_t ncclGetVersion(int *version) {
    *version = VERSION;
    return called("ncclGetVersion", "");
}

ncclResult_t ncclGetUniqueId(ncclUniqueId *uniqueId) {
    for (int i = 0; i < 128; i++) uniqueId->internal[i] = (char)(2 * i);
    return called("ncclGetUniqueId", "");
}

const char *ncclGetErrorString(ncclResult_t result) {
    static char text[32];
    snprintf(text, sizeof text, "error %d of the mock", result);
    return text;
}

ncclResult_t ncclCommInitRank(ncclComm_t *comm, int nranks, ncclUniqueId commId, int rank) {
    *comm = make(nranks, rank, 1);
    return called("ncclCommInitRank", " %d of %d, %d..%d, is %d", rank, nranks, commId.internal[1],
                  commId.internal[63], id(*comm));
}

ncclResult_t ncclCommDestroy(ncclComm_t comm) {
    return called("ncclCommDestroy", " %d", id(comm));
}

ncclResult_t ncclCommAbort(ncclComm_t comm) {
    return called("ncclCommAbort", " %d", id(comm));
}

ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t *asyncError) {
    *asyncError = state;
    return called("ncclCommGetAsyncError", " %d", id(comm));
}

ncclResult_t ncclCommCount(const ncclComm_t comm, int *count) {
    *count = comm->size;
    return called("ncclCommCount", " %d", id(comm));
}

ncclResult_t ncclCommCuDevice(const ncclComm_t comm, int *device) {
    *device = comm->rank + 10;
    return called("ncclCommCuDevice", " %d", id(comm));
}

ncclResult_t ncclCommUserRank(const ncclComm_t comm, int *rank) {
    *rank = comm->rank;
    return called("ncclCommUserRank", " %d", id(comm));
}

ncclResult_t ncclAllReduce(const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype,
                           ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    return called("ncclAllReduce", " %p to %p, %zu %s, %s, on %d, stream %p", sendbuff, recvbuff, count,
                  type(datatype), operation(op), id(comm), stream);
}

ncclResult_t ncclReduceScatter(const void *sendbuff, void *recvbuff, size_t recvcount, ncclDataType_t datatype,
                               ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) {
    return called("ncclReduceScatter", " %p to %p, %zu %s, %s, on %d, stream %p", sendbuff, recvbuff, recvcount,
                  type(datatype), operation(op), id(comm), stream);
}

ncclResult_t ncclAllGather(const void *sendbuff, void *recvbuff, size_t sendcount, ncclDataType_t datatype,
                           ncclComm_t comm, cudaStream_t stream) {
    return called("ncclAllGather", " %p to %p, %zu %s, on %d, stream %p", sendbuff, recvbuff, sendcount,
                  type(datatype), id(comm), stream);
}

ncclResult_t ncclBroadcast(const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype, int root,
                           ncclComm_t comm, cudaStream_t stream) {
    return called("ncclBroadcast", " %p to %p, %zu %s, root %d, on %d, stream %p", sendbuff, recvbuff, count,
                  type(datatype), root, id(comm), stream);
}

ncclResult_t ncclReduce(const void *sendbuff, void *recvbuff, size_t count, ncclDataType_t datatype,
                        ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream) {
    return called("ncclReduce", " %p to %p, %zu %s, %s, root %d, on %d, stream %p", sendbuff, recvbuff, count,
                  type(datatype), operation(op), root, id(comm), stream);
}

ncclResult_t ncclSend(const void *sendbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    return called("ncclSend", " %p, %zu %s, to rank %d, on %d, stream %p", sendbuff, count, type(datatype), peer,
                  id(comm), stream);
}

#ifndef WITHOUT_RECV
ncclResult_t ncclRecv(void *recvbuff, size_t count, ncclDataType_t datatype, int peer, ncclComm_t comm,
                      cudaStream_t stream) {
    return called("ncclRecv", " %p, %zu %s, from rank %d, on %d, stream %p", recvbuff, count, type(datatype), peer,
                  id(comm), stream);
}
#endif

ncclResult_t ncclGroupStart(void) {
    ncclResult_t result = called("ncclGroupStart", "");
    depth += result == ncclSuccess;
    return result;
}

ncclResult_t ncclGroupEnd(void) {
    ncclResult_t result = called("ncclGroupEnd", "");
    return depth-- > 0 ? result : ncclInvalidUsage;
}

#ifndef OLD

const char *ncclGetLastError(ncclComm_t comm) {
    return comm ? "asked with a communicator" : last_error;
}

/* What it was given, with `-` for what is left to NCCL; and whether that is a configuration at all. */
static ncclResult_t describe(const ncclConfig_t *config, char *text, size_t size) {
    const int choices[] = { config->blocking, config->cgaClusterSize, config->minCTAs, config->maxCTAs,
        config->splitShare, config->trafficClass, config->collnetEnable, config->CTAPolicy,
        config->shrinkShare, config->nvlsCTAs };
    size_t length = snprintf(text, size, "%u %s %s", config->version, config->netName ? config->netName : "-",
                             config->commName ? config->commName : "-");
    for (size_t i = 0; i < sizeof choices / sizeof *choices; i++)
        length += choices[i] == -2147483647 - 1 ? snprintf(text + length, size - length, " -")
                                                : snprintf(text + length, size - length, " %d", choices[i]);
    return config->size == sizeof *config && config->magic == 0xcafebeef ? ncclSuccess : ncclInvalidArgument;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t *comm, int nranks, ncclUniqueId commId, int rank,
                                    ncclConfig_t *config) {
    char text[128];
    ncclResult_t valid = describe(config, text, sizeof text);
    *comm = make(nranks, rank, config->blocking != 0);
    ncclResult_t result = called("ncclCommInitRankConfig", " %d of %d, %d..%d, is %d: %s", rank, nranks,
                                 commId.internal[1], commId.internal[63], id(*comm), text);
    if (valid != ncclSuccess || result != ncclSuccess) return valid != ncclSuccess ? valid : result;
    return state = (*comm)->blocking ? ncclSuccess : ncclInProgress;
}

ncclResult_t ncclCommFinalize(ncclComm_t comm) {
    return called("ncclCommFinalize", " %d", id(comm));
}

ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t *newcomm, ncclConfig_t *config) {
    char text[128] = "as its parent";
    ncclResult_t valid = config ? describe(config, text, sizeof text) : ncclSuccess;
    ncclResult_t result = called("ncclCommSplit", " %d, color %d, key %d: %s", id(comm), color, key, text);
    if (valid != ncclSuccess || result != ncclSuccess) return valid != ncclSuccess ? valid : result;
    *newcomm = NULL;
    unwritten = newcomm;
    unborn = color < 0 ? NULL : make(1, 0, comm->blocking);
    if (comm->blocking) mock_finish_split();
    else state = ncclInProgress;
    return ncclSuccess; /* in progress or not, as NCCL */
}

#endif
