/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fnmatch.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "capture/filter.h"
#include "util/text.h"

enum { VALUES_MAX = 16, CLAUSES_MAX = 16 };

struct range {
	uint64_t first, last;
};

/* What must all hold; a count of 0: any. */
struct clause {
	char functions[VALUES_MAX][32];
	struct range addresses[VALUES_MAX], tags[VALUES_MAX];
	uint16_t requesters[VALUES_MAX];
	unsigned n_functions, n_addresses, n_requesters, n_tags;
	uint64_t types; /* bits; with a 64-bit address: shifted left by 32 */
	unsigned dirs, statuses;
};

struct fb_filter {
	struct clause clauses[CLAUSES_MAX];
	unsigned n;
};

struct word {
	const char *name;
	uint64_t bits;
};

enum { DOWN = 1, UP = 2, SENT = 4, RECEIVED = 8 };
static const struct word dir_words[] = {{"down", DOWN}, {"up", UP}, {"sent", SENT}, {"received", RECEIVED}, {NULL, 0}};

enum { GOOD = 1, ERROR = 2, MALFORMED = 4, POISONED = 8 };
static const struct word status_words[] = {
	{"ok", GOOD}, {"error", ERROR}, {"malformed", MALFORMED}, {"poisoned", POISONED}, {NULL, 0}};

#define BIT(type) (1ull << (type))
#define BOTH(bits) ((bits) | (bits) << 32)
static const struct word class_words[] = {
	{"posted", BOTH(BIT(PCIE_TLP_MWR) | BIT(PCIE_TLP_MSG) | BIT(PCIE_TLP_MSGD))},
	{"completion", BOTH(BIT(PCIE_TLP_CPL) | BIT(PCIE_TLP_CPLD) | BIT(PCIE_TLP_CPLLK) | BIT(PCIE_TLP_CPLDLK))},
	{"memory", BOTH(BIT(PCIE_TLP_MRD) | BIT(PCIE_TLP_MRDLK) | BIT(PCIE_TLP_MWR))},
	{"config", BOTH(BIT(PCIE_TLP_CFGRD0) | BIT(PCIE_TLP_CFGWR0) | BIT(PCIE_TLP_CFGRD1) | BIT(PCIE_TLP_CFGWR1))},
	{"io", BOTH(BIT(PCIE_TLP_IORD) | BIT(PCIE_TLP_IOWR))},
	{"message", BOTH(BIT(PCIE_TLP_MSG) | BIT(PCIE_TLP_MSGD))},
	{"atomic", BOTH(BIT(PCIE_TLP_FETCHADD) | BIT(PCIE_TLP_SWAP) | BIT(PCIE_TLP_CAS))},
	{"MRd32", BIT(PCIE_TLP_MRD)},
	{"MRd64", BIT(PCIE_TLP_MRD) << 32},
	{"MWr32", BIT(PCIE_TLP_MWR)},
	{"MWr64", BIT(PCIE_TLP_MWR) << 32},
	{NULL, 0}};

struct parser {
	struct clause *clause;
	char *error;
	size_t cap;
};

static int fail(struct parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(struct parser *p, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->error, p->cap, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int no_word(struct parser *p, const char *key, const char *value, const char *const *names)
{
	const char *near = fb_nearest(value, names);
	char list[256] = "";

	if (near)
		return fail(p, "filter: %s=%.40s: did you mean %s?", key, value, near);
	for (const char *const *n = names; *n; n++) {
		size_t len = strlen(list);

		snprintf(list + len, sizeof(list) - len, "%s%s", len ? ", " : "", *n);
	}
	return fail(p, "filter: %s=%.40s: must be one of %s", key, value, list);
}

static int parse_word(struct parser *p, const char *key, const char *value, const struct word *words, unsigned *bits)
{
	const char *names[16];
	unsigned n = 0;

	for (; words[n].name; n++) {
		if (!strcasecmp(words[n].name, value)) {
			*bits |= (unsigned)words[n].bits;
			return 0;
		}
		names[n] = words[n].name;
	}
	names[n] = NULL;
	return no_word(p, key, value, names);
}

static int parse_type(struct parser *p, const char *value)
{
	const char *names[PCIE_TLP_TYPES + 16];
	unsigned n = 0;

	for (unsigned i = 0; i < PCIE_TLP_TYPES; i++) {
		names[n] = pcie_tlp_type_name((enum pcie_tlp_type)i);
		if (!strcasecmp(names[n++], value)) {
			p->clause->types |= BOTH(BIT(i));
			return 0;
		}
	}
	for (const struct word *w = class_words; w->name; w++) {
		names[n++] = w->name;
		if (!strcasecmp(w->name, value)) {
			p->clause->types |= w->bits;
			return 0;
		}
	}
	names[n] = NULL;
	return no_word(p, "type", value, names);
}

/* "A", "A-B", "A:SIZE" */
static int parse_range(struct parser *p, const char *key, const char *value, struct range *r, unsigned *n)
{
	char copy[80], *dash, *size;
	uint64_t len;

	snprintf(copy, sizeof(copy), "%s", value);
	dash = strchr(copy, '-');
	size = strchr(copy, ':');
	if (dash)
		*dash++ = '\0';
	else if (size)
		*size++ = '\0';
	if (fb_parse_u64(copy, &r[*n].first))
		goto wrong;
	r[*n].last = r[*n].first;
	if (dash && (fb_parse_u64(dash, &r[*n].last) || r[*n].last < r[*n].first))
		goto wrong;
	if (!dash && size) {
		if ((fb_parse_u64(size, &len) && fb_parse_size(size, &len)) || !len || r[*n].first + (len - 1) < len - 1)
			goto wrong;
		r[*n].last = r[*n].first + (len - 1);
	}
	++*n;
	return 0;
wrong:
	return fail(p, "filter: %s=%.60s: must be FIRST, FIRST-LAST or FIRST:SIZE, numbers such as 0xfee00000", key, value);
}

static int parse_requester(struct parser *p, const char *value)
{
	unsigned bus, dev, fn;
	int used = 0;

	if (sscanf(value, "%2x:%2x.%1x%n", &bus, &dev, &fn, &used) != 3 || value[used] || dev > 31 || fn > 7)
		return fail(p, "filter: requester=%.40s: must be BUS:DEV.FN in hexadecimal, such as 01:00.0", value);
	p->clause->requesters[p->clause->n_requesters++] = (uint16_t)(bus << 8 | dev << 3 | fn);
	return 0;
}

static int parse_function(struct parser *p, const char *value)
{
	if (strlen(value) >= sizeof(p->clause->functions[0]))
		return fail(p, "filter: function=%.40s…: longer than the 31 characters of a function's ID", value);
	strcpy(p->clause->functions[p->clause->n_functions++], value);
	return 0;
}

static int parse_value(struct parser *p, const char *key, const char *value)
{
	static const char *const keys[] = {"function", "type", "addr", "dir", "requester", "tag", "status", NULL};
	struct clause *c = p->clause;
	const char *near;

	if (!*value)
		return fail(p, "filter: %.40s=: its value is missing", key);
	if (c->n_functions == VALUES_MAX || c->n_addresses == VALUES_MAX || c->n_requesters == VALUES_MAX ||
	    c->n_tags == VALUES_MAX)
		return fail(p, "filter: %.40s: more than %d values", key, VALUES_MAX);
	if (!strcmp(key, "function"))
		return parse_function(p, value);
	if (!strcmp(key, "type"))
		return parse_type(p, value);
	if (!strcmp(key, "addr"))
		return parse_range(p, key, value, c->addresses, &c->n_addresses);
	if (!strcmp(key, "dir"))
		return parse_word(p, key, value, dir_words, &c->dirs);
	if (!strcmp(key, "requester"))
		return parse_requester(p, value);
	if (!strcmp(key, "tag"))
		return parse_range(p, key, value, c->tags, &c->n_tags);
	if (!strcmp(key, "status"))
		return parse_word(p, key, value, status_words, &c->statuses);
	near = fb_nearest(key, keys);
	if (near)
		return fail(p, "filter: no key \"%.40s\"; did you mean \"%s\"?", key, near);
	return fail(p, "filter: no key \"%.40s\"; there are function, type, addr, dir, requester, tag and status", key);
}

static int parse_term(struct parser *p, char *term)
{
	char *equals = strchr(term, '='), *cursor, *value;
	int err = 0;

	if (!equals)
		return fail(p, "filter: \"%.60s\" is not KEY=VALUE (as in type=MWr) and not \"or\"", term);
	*equals = '\0';
	cursor = equals + 1;
	if (!*cursor)
		return parse_value(p, term, "");
	while (!err && (value = strsep(&cursor, "+")))
		err = parse_value(p, term, value);
	return err;
}

int fb_filter_parse(struct fb_filter **out, const char *text, char *error, size_t cap)
{
	struct fb_filter *f = calloc(1, sizeof(*f));
	char *copy = strdup(text), *cursor = copy, *term;
	struct parser p = {.error = error, .cap = cap};
	bool terms = false;
	int err = 0;

	if (!f || !copy) {
		snprintf(error, cap, "%s", strerror(ENOMEM));
		err = -ENOMEM;
	} else {
		p.clause = &f->clauses[f->n++];
	}
	while (!err && (term = strsep(&cursor, " ,\t\n"))) {
		if (!*term)
			continue;
		if (strcmp(term, "or")) {
			terms = true;
			err = parse_term(&p, term);
			continue;
		}
		if (!terms) {
			err = fail(&p, "filter: nothing stands before an \"or\"");
		} else if (f->n == CLAUSES_MAX) {
			err = fail(&p, "filter: more than %d alternatives", CLAUSES_MAX);
		} else {
			p.clause = &f->clauses[f->n++];
			terms = false;
		}
	}
	if (!err && !terms && f->n > 1)
		err = fail(&p, "filter: nothing stands behind the last \"or\"");
	free(copy);
	if (err)
		fb_filter_free(f);
	else
		*out = f;
	return err;
}

void fb_filter_free(struct fb_filter *filter)
{
	free(filter);
}

static bool in_ranges(const struct range *r, unsigned n, uint64_t first, uint64_t last)
{
	for (unsigned i = 0; i < n; i++) {
		if (first <= r[i].last && last >= r[i].first)
			return true;
	}
	return false;
}

/* Those that have an address: by the bytes that they are about. */
static bool takes_address(const struct clause *c, const struct pcie_tlp *tlp)
{
	uint64_t address = tlp->address;
	uint32_t len = 1;

	switch (tlp->type) {
	case PCIE_TLP_MRD:
	case PCIE_TLP_MRDLK:
	case PCIE_TLP_MWR:
	case PCIE_TLP_IORD:
	case PCIE_TLP_IOWR:
	case PCIE_TLP_FETCHADD:
	case PCIE_TLP_SWAP:
	case PCIE_TLP_CAS:
		pcie_tlp_get_range(tlp, &address, &len);
		break;
	case PCIE_TLP_MSG:
	case PCIE_TLP_MSGD:
		if (tlp->msg_route == PCIE_ROUTE_BY_ADDRESS)
			break;
		return false;
	default:
		return false;
	}
	return in_ranges(c->addresses, c->n_addresses, address, address + (len ? len - 1 : 0));
}

static bool takes(const struct clause *c, const struct fb_tap_source *source, bool sent, const struct pcie_tlp *tlp,
		  enum pcie_tlp_error error)
{
	unsigned dir = (sent == source->on_root ? DOWN : UP) | (sent ? SENT : RECEIVED);
	bool found = !c->n_functions;

	for (unsigned i = 0; i < c->n_functions && !found; i++)
		found = !fnmatch(c->functions[i], source->function, 0);
	if (!found)
		return false;
	/* up+received are alternatives, as all values of one key are. */
	if (c->dirs && !(c->dirs & dir))
		return false;
	if (c->statuses) {
		bool failed = tlp->type >= PCIE_TLP_CPL && tlp->type <= PCIE_TLP_CPLDLK && tlp->status != PCIE_CPL_SC;
		unsigned status = error ? MALFORMED : failed ? ERROR : GOOD;

		if (!error && tlp->ep)
			status |= POISONED;
		if (!(c->statuses & status))
			return false;
	}
	if (!c->types && !c->n_addresses && !c->n_requesters && !c->n_tags)
		return true;
	if (error && error <= PCIE_TLP_E_TYPE) /* no fields to look at */
		return false;
	if (c->types && !(c->types >> ((unsigned)tlp->type + (tlp->address >> 32 ? 32 : 0)) & 1))
		return false;
	if (c->n_addresses && !takes_address(c, tlp))
		return false;
	if (c->n_tags && !in_ranges(c->tags, c->n_tags, tlp->tag, tlp->tag))
		return false;
	found = !c->n_requesters;
	for (unsigned i = 0; i < c->n_requesters && !found; i++)
		found = c->requesters[i] == tlp->requester_id;
	return found;
}

bool fb_filter_takes(const struct fb_filter *f, const struct fb_tap_source *source, bool sent,
		     const struct pcie_tlp *tlp, enum pcie_tlp_error error)
{
	if (!f)
		return true;
	for (unsigned i = 0; i < f->n; i++) {
		if (takes(&f->clauses[i], source, sent, tlp, error))
			return true;
	}
	return false;
}
