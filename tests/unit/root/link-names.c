#include "link/link.h"
const char *fb_link_reason_name(enum fb_link_reason r){ return "reason"; }
