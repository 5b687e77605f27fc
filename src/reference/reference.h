// The scalar reference, all of it: what the rest of the project is verified against.
#pragma once

#include "reference/alibi_slopes.h"
#include "reference/array.h"
#include "reference/attention.h"
#include "reference/bounds.h"
#include "reference/compare.h"
#include "reference/low_precision.h"
#include "reference/merge.h"
#include "reference/multi_head_attention.h"
#include "reference/operations.h"
#include "reference/positions.h"
#include "reference/stored.h"
