/* See metrics.h. */
#include "watch/metrics.h"
