/* See json_read.h. */
#include "base/json_read.h"
