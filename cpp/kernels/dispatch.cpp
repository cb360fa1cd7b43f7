// The choice of an instruction set: the best table that the processor can run, or the one asked for.
#include <atomic>
#include <cstdlib>
#include <stdexcept>
#include <string>

#include "../platform/cpu_features.h"
#include "kernel_table.h"
#include "ranvier/cpu.h"

// Generated from the list in CMakeLists.txt: RANVIER_TABLE(name) for each, plainest first.
#define RANVIER_TABLE(isa)          \
    namespace ranvier::isa {        \
    extern const KernelTable table; \
    }
#include "isa_tables.inc"
#undef RANVIER_TABLE

namespace ranvier {
namespace {

const KernelTable* const kTables[] = {
#define RANVIER_TABLE(isa) &isa::table,
#include "isa_tables.inc"
#undef RANVIER_TABLE
};

std::atomic<const KernelTable*> chosen{nullptr};

bool runs_here(const KernelTable& table) { return (table.required_features & ~detected_features()) == 0; }

std::string names(bool supported_only) {
    std::string text;
    for (const KernelTable* table : kTables)
        if (!supported_only || runs_here(*table))
            text += (text.empty() ? "" : ", ") + std::string(table->name);
    return text;
}

const KernelTable& table_named(const std::string& name) {
    for (const KernelTable* table : kTables) {
        if (name != table->name) continue;
        if (!runs_here(*table))
            throw std::invalid_argument("RANVIER_ISA: this processor lacks what '" + name + "' needs (" +
                                        feature_names(table->required_features & ~detected_features()) +
                                        "); it runs: " + names(true));
        return *table;
    }
    throw std::invalid_argument("RANVIER_ISA: expected one of " + names(false) + ", got '" + name + "'");
}

const KernelTable& default_table() {
    const char* forced = std::getenv("RANVIER_ISA");
    if (forced && *forced) return table_named(forced);
    const KernelTable* best = nullptr;
    for (const KernelTable* table : kTables)
        if (runs_here(*table)) best = table;
    if (!best)
        throw std::runtime_error("this processor runs none of the instruction sets of this build: " +
                                 names(false));
    return *best;
}

}  // namespace

const KernelTable& active_table() {
    const KernelTable* table = chosen.load(std::memory_order_acquire);
    if (!table) {
        table = &default_table();
        chosen.store(table, std::memory_order_release);
    }
    return *table;
}

std::string active_isa() { return active_table().name; }

void set_active_isa(const std::string& name) { chosen.store(&table_named(name), std::memory_order_release); }

CpuInfo cpu_info() {
    CpuInfo info = detect_cpu();
    for (const KernelTable* table : kTables) {
        info.compiled_isas.emplace_back(table->name);
        if (runs_here(*table)) info.supported_isas.emplace_back(table->name);
    }
    return info;
}

}  // namespace ranvier
