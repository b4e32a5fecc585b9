/* SPDX-License-Identifier: Apache-2.0 */
#include "tlp/tlp.h"
