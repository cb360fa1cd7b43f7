// Processor features by cpuid, and the processors that the system lets this process use.
#include "cpu_features.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#ifdef __APPLE__
#include <sys/sysctl.h>
#endif
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif

#include "affinity.h"

namespace ranvier {
namespace {

constexpr struct {
    CpuFeature bit;
    const char* name;
} kNames[] = {
    {kSse42, "sse4.2"},      {kPopcnt, "popcnt"},     {kAvx, "avx"},           {kAvx2, "avx2"},
    {kFma, "fma"},           {kF16c, "f16c"},         {kBmi, "bmi"},           {kBmi2, "bmi2"},
    {kLzcnt, "lzcnt"},       {kMovbe, "movbe"},       {kAvx512f, "avx512f"},   {kAvx512bw, "avx512bw"},
    {kAvx512cd, "avx512cd"}, {kAvx512dq, "avx512dq"}, {kAvx512vl, "avx512vl"},
};

std::uint64_t detect_features() {
    std::uint64_t found = 0;
#if defined(__x86_64__) || defined(__i386__)
    // The builtin checks the operating system's saved state (xgetbv) for AVX and AVX-512.
    __builtin_cpu_init();
    const auto add = [&](bool has, CpuFeature bit) {
        if (has) found |= bit;
    };
    add(__builtin_cpu_supports("sse4.2"), kSse42);
    add(__builtin_cpu_supports("popcnt"), kPopcnt);
    add(__builtin_cpu_supports("avx"), kAvx);
    add(__builtin_cpu_supports("avx2"), kAvx2);
    add(__builtin_cpu_supports("fma"), kFma);
    add(__builtin_cpu_supports("bmi"), kBmi);
    add(__builtin_cpu_supports("bmi2"), kBmi2);
    add(__builtin_cpu_supports("avx512f"), kAvx512f);
    add(__builtin_cpu_supports("avx512bw"), kAvx512bw);
    add(__builtin_cpu_supports("avx512cd"), kAvx512cd);
    add(__builtin_cpu_supports("avx512dq"), kAvx512dq);
    add(__builtin_cpu_supports("avx512vl"), kAvx512vl);
    unsigned eax, ebx, ecx, edx;
    if (__get_cpuid(1, &eax, &ebx, &ecx, &edx)) {
        add((ecx >> 22) & 1, kMovbe);
        add(((ecx >> 29) & 1) && (found & kAvx), kF16c);
    }
    if (__get_cpuid(0x80000001, &eax, &ebx, &ecx, &edx)) add((ecx >> 5) & 1, kLzcnt);
#endif
    return found;
}

std::string first_line(const std::string& path) {
    std::ifstream file(path);
    std::string line;
    std::getline(file, line);
    return line;
}

std::string model_name() {
#ifdef __APPLE__
    char text[256] = "";
    std::size_t size = sizeof text;
    if (sysctlbyname("machdep.cpu.brand_string", text, &size, nullptr, 0) == 0) return text;
#endif
    std::ifstream file("/proc/cpuinfo");
    for (std::string line; std::getline(file, line);)
        if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
    return "";
}

// Quota over period in a cgroup's folder, 0 if it sets none. Version 2 has one file, version 1 two.
double quota_in(const std::string& folder) {
    double quota = 0, period = 0;
    if (std::ifstream file(folder + "/cpu.max"); file >> quota >> period && period > 0) return quota / period;
    std::ifstream quota_file(folder + "/cpu.cfs_quota_us"), period_file(folder + "/cpu.cfs_period_us");
    if (quota_file >> quota && period_file >> period && quota > 0 && period > 0) return quota / period;
    return 0;
}

// The least quota from a cgroup up to its root.
double least_quota(const std::string& root, std::string group) {
    double least = 0;
    for (;;) {
        const double quota = quota_in(root + group);
        if (quota > 0 && (least == 0 || quota < least)) least = quota;
        if (group.empty()) return least;
        group.erase(group.find_last_of('/') == std::string::npos ? 0 : group.find_last_of('/'));
    }
}

}  // namespace

std::uint64_t detected_features() {
    static const std::uint64_t features = detect_features();
    return features;
}

std::string feature_names(std::uint64_t features) {
    std::string text;
    for (const auto& [bit, name] : kNames)
        if (features & bit) text += (text.empty() ? "" : ", ") + std::string(name);
    return text;
}

CpuInfo detect_cpu() {
    CpuInfo info;
    info.model = model_name();
    for (const auto& [bit, name] : kNames)
        if (detected_features() & bit) info.features.emplace_back(name);
    info.physical_cores = physical_cores();
    info.logical_cores = affinity_count();
    return info;
}

int affinity_count() {
#ifdef __linux__
    if (const int count = CpuMask::of_thread(0).count()) return count;
#endif
    return std::max(1u, std::thread::hardware_concurrency());
}

int physical_cores() {
#ifdef __APPLE__
    int cores = 0;
    std::size_t size = sizeof cores;
    if (sysctlbyname("hw.physicalcpu", &cores, &size, nullptr, 0) == 0) return std::max(1, cores);
#endif
#ifdef __linux__
    if (const auto processors = CpuMask::of_thread(0).processors(); !processors.empty())
        return physical_cores(processors);
#endif
    return affinity_count();
}

int physical_cores(const std::vector<int>& processors) {
    std::set<std::string> cores;  // a core is named by the list of its hardware threads
    for (const int cpu : processors) {
        const std::string number = std::to_string(cpu);
        const std::string siblings =
            first_line("/sys/devices/system/cpu/cpu" + number + "/topology/thread_siblings_list");
        cores.insert(siblings.empty() ? number : siblings);
    }
    return static_cast<int>(cores.size());
}

int cgroup_quota() {
    double least = 0;
    std::ifstream file("/proc/self/cgroup");
    for (std::string line; std::getline(file, line);) {
        // hierarchy-ID:controllers:path; version 2 has no controllers.
        const auto first = line.find(':'), second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = line.substr(first + 1, second - first - 1);
        if (!controllers.empty() && controllers.find("cpu") == std::string::npos) continue;
        const std::string root = controllers.empty() ? "/sys/fs/cgroup" : "/sys/fs/cgroup/" + controllers;
        std::string group = line.substr(second + 1);
        if (group == "/") group.clear();
        const double quota = least_quota(root, group);
        if (quota > 0 && (least == 0 || quota < least)) least = quota;
    }
    return static_cast<int>(std::ceil(least));
}

}  // namespace ranvier
