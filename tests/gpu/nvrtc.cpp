// A stand-in for NVRTC, for tests: it compiles nothing, and what it makes only looks like machine code.
#include <cstring>
#include <string>

#define API extern "C" __attribute__((visibility("default")))

API int nvrtcVersion(int* major, int* minor) { return *major = 13, *minor = 7, 0; }
API int nvrtcCreateProgram(void** program, const char* text, const char* name, int headers, const char* const* texts,
                           const char* const* names) {
    if (!strstr(text, "__global__")) return 3;
    for (int i = 0; i < headers; i++)
        if (!strstr(texts[i], "#pragma once") || !strstr(names[i], ".cuh")) return 3;
    *program = new std::string("\x7f" "ELF of " + std::string(name));
    return 0;
}
API int nvrtcDestroyProgram(void** program) { return delete static_cast<std::string*>(*program), 0; }
API int nvrtcCompileProgram(void*, int count, const char* const* options) {
    for (int i = 0; i < count; i++)
        if (!strcmp(options[i], "--gpu-architecture=sm_90a")) return 0;
    return 5;
}
API int nvrtcGetCUBINSize(void* program, size_t* bytes) { return *bytes = static_cast<std::string*>(program)->size(), 0; }
API int nvrtcGetCUBIN(void* program, char* code) {
    const auto& text = *static_cast<std::string*>(program);
    return memcpy(code, text.data(), text.size()), 0;
}
API int nvrtcGetProgramLogSize(void*, size_t* bytes) { return *bytes = 1, 0; }
API int nvrtcGetProgramLog(void*, char* log) { return *log = 0, 0; }
