// Loops over contiguous runs of one instruction set, each with a tail that runs the body's instructions.
#pragma once

#include "activations.h"
#include "isa.h"
#include "maxout.h"
#include "softmax.h"
#include "stochastic.h"
#include "updates.h"
