// The processor's peak, measured: what products are compared with.
#pragma once

namespace ranvier {

// Multiplications and additions a second that fused multiply-adds on registers reach, of float or double,
// with the instruction set in use on as many threads as kernels called from here use. Takes some
// milliseconds.
template <class T>
double peak_flops();

}  // namespace ranvier
