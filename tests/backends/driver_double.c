/* A double of the NVIDIA driver's library, for PyCUDA to load: memory is the CPU's, and launches of `te_scale` run here.
 * It says what it is asked to do on the standard error stream. What it lacks is in a file of functions that fail
 * (test_cuda_pycuda.py makes it). */
#include <cuda.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static __thread CUcontext current[16];
static __thread int depth;

static CUresult note(const char *format, ...) {
    va_list values;
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    return CUDA_SUCCESS;
}

static CUresult in_context(void) {
    return depth ? CUDA_SUCCESS : CUDA_ERROR_INVALID_CONTEXT;
}

/* ---------------------------------------------------------------- device and context */

CUresult cuInit(unsigned flags) { return CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int *version) { *version = CUDA_VERSION; return CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int *count) { *count = 1; return CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice *device, int number) { *device = number; return CUDA_SUCCESS; }
CUresult cuDeviceGetName(char *name, int length, CUdevice device) { snprintf(name, length, "Double"); return CUDA_SUCCESS; }
CUresult cuDeviceComputeCapability(int *major, int *minor, CUdevice device) { *major = 8; *minor = 0; return CUDA_SUCCESS; }

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
    switch (attribute) {
        case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: *value = 8; break;
        case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: *value = 163 << 10; break;
        default: *value = 0;
    }
    return CUDA_SUCCESS;
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) { *context = (CUcontext)16; return note("retain\n"); }
CUresult cuDevicePrimaryCtxRelease(CUdevice device) { return note("release\n"); }
CUresult cuCtxPushCurrent(CUcontext context) { current[depth++] = context; return CUDA_SUCCESS; }
#if CUDA_VERSION >= 13000
CUresult cuCtxCreate(CUcontext *context, CUctxCreateParams *parameters, unsigned flags, CUdevice device) {
#else
CUresult cuCtxCreate(CUcontext *context, unsigned flags, CUdevice device) {
#endif
    *context = (CUcontext)48;
    return cuCtxPushCurrent(*context);
}

CUresult cuCtxDestroy(CUcontext context) { return CUDA_SUCCESS; }
CUresult cuCtxGetCurrent(CUcontext *context) { *context = depth ? current[depth - 1] : 0; return CUDA_SUCCESS; }
CUresult cuCtxGetDevice(CUdevice *device) { *device = 0; return in_context(); }
CUresult cuCtxSynchronize(void) { return in_context(); }

CUresult cuCtxPopCurrent(CUcontext *context) {
    if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
    depth--;
    if (context) *context = current[depth];
    return CUDA_SUCCESS;
}

/* ---------------------------------------------------------------- memory */

CUresult cuMemAlloc(CUdeviceptr *pointer, size_t bytes) {
    void *memory = 0;
    if (!depth) return CUDA_ERROR_INVALID_CONTEXT;
    if (bytes > (1u << 30) || posix_memalign(&memory, 256, bytes + 256)) return CUDA_ERROR_OUT_OF_MEMORY;
    *pointer = (CUdeviceptr)memory + 256;
    ((CUcontext *)*pointer)[-1] = current[depth - 1];
    return note("allocate %zu\n", bytes);
}

/* Memory begins with the context that it belongs to, which lies before the pointer. */
CUresult cuPointerGetAttribute(void *value, CUpointer_attribute attribute, CUdeviceptr pointer) {
    *(CUcontext *)value = ((CUcontext *)pointer)[-1];
    return attribute == CU_POINTER_ATTRIBUTE_CONTEXT ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuMemFree(CUdeviceptr pointer) { free((char *)pointer - 256); return note("free\n"); }
CUresult cuMemcpyHtoD(CUdeviceptr to, const void *from, size_t bytes) { memcpy((void *)to, from, bytes); return in_context(); }
CUresult cuMemcpyDtoH(void *to, CUdeviceptr from, size_t bytes) { memcpy(to, (void *)from, bytes); return in_context(); }

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream stream) {
    memcpy((void *)to, (void *)from, bytes);
    return in_context();
}

/* ---------------------------------------------------------------- code */

CUresult cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, CUjit_option *names, void **values) {
    *module = (CUmodule)32;
    return note("load\n");
}

CUresult cuModuleLoadData(CUmodule *module, const void *image) { return cuModuleLoadDataEx(module, image, 0, 0, 0); }
CUresult cuModuleUnload(CUmodule module) { return note("unload\n"); }
CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) { *function = (CUfunction)strdup(name); return CUDA_SUCCESS; }
CUresult cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function) { *value = 0; return CUDA_SUCCESS; }
CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) { return CUDA_SUCCESS; }

CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                        unsigned bz, unsigned shared, CUstream stream, void **parameters, void **extra) {
    struct { const float *x, *by; float *y; long long count; } *given = extra[1]; /* CU_LAUNCH_PARAM_BUFFER_POINTER */
    if (getenv("TE_DOUBLE_FAILS")) return CUDA_ERROR_ILLEGAL_ADDRESS;
    if (strcmp((const char *)function, "te_scale")) return CUDA_ERROR_INVALID_HANDLE;
    for (long long i = 0; i < given->count; i++) given->y[i] = *given->by * given->x[i];
    return note("launch (%u, %u, %u) (%u, %u, %u) on %p\n", gx, gy, gz, bx, by, bz, (void *)stream);
}

/* ---------------------------------------------------------------- streams, events, graphs */

CUresult cuStreamCreate(CUstream *stream, unsigned flags) {
    static char *last = (char *)0x3000;
    *stream = (CUstream)((last += 16) + (flags & CU_STREAM_NON_BLOCKING));
    return note("stream %p\n", (void *)*stream);
}

/* Streams that the default one does not wait for have odd handles. */
CUresult cuStreamGetFlags(CUstream stream, unsigned *flags) { *flags = (size_t)stream & 1; return in_context(); }
CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus *status) { *status = 0; return in_context(); }
CUresult cuStreamDestroy(CUstream stream) { return CUDA_SUCCESS; }
CUresult cuStreamSynchronize(CUstream stream) { return CUDA_SUCCESS; }
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned flags) { return note("%p waits\n", (void *)stream); }

CUresult cuEventCreate(CUevent *event, unsigned flags) { *event = (CUevent)64; return CUDA_SUCCESS; }
CUresult cuEventRecord(CUevent event, CUstream stream) { return note("record on %p\n", (void *)stream); }
CUresult cuEventSynchronize(CUevent event) { return CUDA_SUCCESS; }
CUresult cuEventElapsedTime(float *milliseconds, CUevent from, CUevent to) { *milliseconds = 2; return CUDA_SUCCESS; }
CUresult cuEventDestroy(CUevent event) { return CUDA_SUCCESS; }

CUresult cuStreamBeginCapture(CUstream stream, CUstreamCaptureMode mode) { return note("capture %p\n", (void *)stream); }
CUresult cuStreamEndCapture(CUstream stream, CUgraph *graph) { *graph = (CUgraph)80; return note("captured\n"); }
CUresult cuGraphInstantiateWithFlags(CUgraphExec *made, CUgraph graph, unsigned long long flags) { *made = (CUgraphExec)96; return CUDA_SUCCESS; }
CUresult cuGraphLaunch(CUgraphExec graph, CUstream stream) { return note("graph on %p\n", (void *)stream); }
CUresult cuGraphDestroy(CUgraph graph) { return CUDA_SUCCESS; }
CUresult cuGraphExecDestroy(CUgraphExec graph) { return note("graph destroyed\n"); }

CUresult cuGetErrorString(CUresult status, const char **text) { *text = "an error of the double"; return CUDA_SUCCESS; }
CUresult cuGetErrorName(CUresult status, const char **text) { *text = "DOUBLE"; return CUDA_SUCCESS; }
