/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Theory of operation
 *
 * What is virtual, and why (docs/design/root.md has the table):
 *	BARs          QEMU and the guest size and place them without the network;
 *	              the function gets the guest's addresses once memory
 *	              decoding is switched on (fb_config_move_bars())
 *	ROM BAR       reads zero: option ROMs are not carried
 *	MSI           address, data, enable and count: QEMU gives eventfds, the
 *	              root programs the function with an address of its own
 *	MSI-X         enable and function mask; hidden altogether on demand
 *	Device Control  MPS, MRRS and tag sizes are the root's, who ends the bus
 *
 * A partly virtual register is read from the function and patched; a write to
 * it carries the wire's value in the virtual bits.
 */
#include "root/config.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "tlp/regs.h"
#include "util/reader.h"

/* What the root takes of a register that it shares with the guest. */
enum {
	MSI_CONTROL_TAKEN = MSI_CONTROL_ENABLE | MSI_CONTROL_MME,
	MSIX_CONTROL_TAKEN = MSIX_CONTROL_MASK | MSIX_CONTROL_ENABLE,
	DEVCTL_TAKEN = EXP_DEVCTL_MPS | EXP_DEVCTL_EXT_TAG | EXP_DEVCTL_MRRS,
};

static uint32_t bar_flags(const struct fb_config_bar *b)
{
	return b->io ? PCI_BAR_IO_FLAGS : PCI_BAR_MEMORY_FLAGS;
}

static void set_bits(uint8_t *image, uint32_t offset, uint32_t mask, uint32_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++) {
		uint8_t m = (uint8_t)(mask >> (8 * i));

		image[offset + i] = (uint8_t)((image[offset + i] & ~m) | ((value >> (8 * i)) & m));
	}
}

/* The root takes the bits of `mask`; the guest may change those of `wmask`, and sees `value` after reset. */
static void take(struct fb_config *c, uint32_t offset, uint32_t mask, uint32_t wmask, uint32_t value, unsigned bytes)
{
	set_bits(c->virt, offset, mask, mask, bytes);
	set_bits(c->wmask, offset, mask, wmask, bytes);
	set_bits(c->reset_shadow, offset, mask, value, bytes);
}

/* ---- BARs ------------------------------------------------------------------- */

static int parse_bars(struct fb_config *c, const uint8_t *header, const uint32_t *sizes, const char **why)
{
	for (unsigned i = 0; i < FB_CONFIG_BARS; i++) {
		struct fb_config_bar *b = &c->bars[i];
		uint32_t reg = fb_get_le32(header + PCI_BAR0 + 4 * i), size = sizes[i];
		uint64_t mask;

		take(c, PCI_BAR0 + 4 * i, UINT32_MAX, 0, 0, 4);
		if (size == 0 || size == UINT32_MAX)
			continue;
		b->io = reg & PCI_BAR_IO;
		if (b->io) {
			mask = (size & ~(uint32_t)PCI_BAR_IO_FLAGS) | ((size >> 16) == 0 ? 0xffff0000u : 0); /* 16-bit decoders are allowed */
			mask |= 0xffffffff00000000u;
		} else {
			b->is_64 = (reg & PCI_BAR_TYPE) == PCI_BAR_TYPE_64;
			b->prefetchable = reg & PCI_BAR_PREFETCHABLE;
			mask = size & ~(uint32_t)PCI_BAR_MEMORY_FLAGS;
			if (b->is_64) {
				if (i == FB_CONFIG_BARS - 1) {
					*why = "its last BAR claims to be a 64-bit one";
					return -EPROTO;
				}
				mask |= (uint64_t)sizes[i + 1] << 32;
			} else {
				mask |= 0xffffffff00000000u;
			}
		}
		b->size = ~mask + 1;
		if (b->size == 0 || (b->size & (b->size - 1)) || b->size > (uint64_t)1 << 46) {
			*why = "a BAR's size is not a power of two";
			return -EPROTO;
		}
		b->present = true;
		take(c, PCI_BAR0 + 4 * i, UINT32_MAX, (uint32_t)mask & ~bar_flags(b), reg & bar_flags(b), 4);
		if (b->is_64) {
			i++;
			take(c, PCI_BAR0 + 4 * i, UINT32_MAX, (uint32_t)(mask >> 32), 0, 4);
		}
	}
	return 0;
}

static bool overlaps(const struct fb_config *c, unsigned self, uint64_t at, uint64_t size, const uint64_t *placed,
		     unsigned set)
{
	for (unsigned i = 0; i < FB_CONFIG_BARS; i++) {
		if (i != self && (set & 1u << i) && c->bars[i].io == c->bars[self].io && at < placed[i] + c->bars[i].size &&
		    placed[i] < at + size)
			return true;
	}
	return false;
}

/* What the guest's registers say, or 0: not assigned (zero, or the all ones of sizing). */
static uint64_t guest_address(const struct fb_config *c, unsigned i)
{
	const struct fb_config_bar *b = &c->bars[i];
	uint64_t at = fb_get_le32(c->shadow + PCI_BAR0 + 4 * i) & ~bar_flags(b);
	uint64_t ones = UINT32_MAX & ~(b->size - 1);

	if (b->is_64) {
		at |= (uint64_t)fb_get_le32(c->shadow + PCI_BAR0 + 4 * i + 4) << 32;
		if ((at >> 32) == UINT32_MAX)
			return 0;
		return at;
	}
	return at == ones ? 0 : at;
}

/*
 * Where each BAR shall be: the guest's address, or else one of the root's that
 * is in nobody's way. The function hears only the root, so any address will do.
 */
static void place(const struct fb_config *c, uint64_t *out)
{
	unsigned set = 0;

	for (unsigned i = 0; i < FB_CONFIG_BARS; i++) {
		if (!c->bars[i].present)
			continue;
		out[i] = guest_address(c, i);
		if (out[i] && !overlaps(c, i, out[i], c->bars[i].size, out, set))
			set |= 1u << i;
	}
	for (unsigned i = 0; i < FB_CONFIG_BARS; i++) {
		const struct fb_config_bar *b = &c->bars[i];

		if (!b->present || (set & 1u << i))
			continue;
		/* Steps of its own size; a 32-bit BAR starts over below 4 GiB. Bounded: five others cannot fill that. */
		out[i] = b->standby;
		for (unsigned tries = 0; tries < 64 && overlaps(c, i, out[i], b->size, out, set); tries++) {
			out[i] += b->size;
			if (!b->is_64 && out[i] + b->size > (uint64_t)1 << 32)
				out[i] = b->size;
		}
		set |= 1u << i;
	}
}

/* One after the other in a window of their kind, each aligned to its size. */
static int choose_standby(struct fb_config *c, const char **why)
{
	uint64_t mem32 = 0x10000000, mem64 = (uint64_t)1 << 46, io = 0x1000;

	for (unsigned i = 0; i < FB_CONFIG_BARS; i++) {
		struct fb_config_bar *b = &c->bars[i];
		uint64_t *at = b->io ? &io : b->is_64 ? &mem64 : &mem32;

		if (!b->present)
			continue;
		*at = (*at + b->size - 1) & ~(b->size - 1);
		b->standby = *at;
		*at += b->size;
		if (!b->is_64 && *at > (uint64_t)1 << 32) {
			*why = "its 32-bit BARs do not fit below 4 GiB";
			return -EPROTO;
		}
	}
	return 0;
}

static unsigned bar_ops(const struct fb_config *c, unsigned i, uint64_t at, struct fb_op *ops)
{
	unsigned n = 0;

	ops[n++] = (struct fb_op){.address = PCI_BAR0 + 4 * i, .value = (uint32_t)at, .be = 15, .write = true};
	if (c->bars[i].is_64)
		ops[n++] = (struct fb_op){
			.address = PCI_BAR0 + 4 * i + 4, .value = (uint32_t)(at >> 32), .be = 15, .write = true};
	return n;
}

unsigned fb_config_move_bars(struct fb_config *c, struct fb_op *ops)
{
	uint64_t at[FB_CONFIG_BARS] = {0};
	unsigned n = 0;

	place(c, at);
	for (unsigned i = 0; i < FB_CONFIG_BARS; i++) {
		if (!c->bars[i].present || at[i] == c->bars[i].address)
			continue;
		c->bars[i].address = at[i];
		n += bar_ops(c, i, at[i], ops + n);
	}
	return n;
}

/* ---- Capabilities ---------------------------------------------------------------- */

enum { MSI_LEAST = MSI_DATA_32 + 2 }; /* MSI's size without upper address and masks */

static const char too_short[] = "a capability runs out of its first 256 bytes";

/* Each parser: `p` is the capability, c's member says where it is. Returns what is wrong with it, or NULL. */

static const char *parse_pm(struct fb_config *c, const uint8_t *p)
{
	c->no_soft_reset = p[PM_PMCSR] & PM_PMCSR_NO_SOFT_RESET;
	return NULL;
}

static const char *parse_msi(struct fb_config *c, const uint8_t *p)
{
	uint16_t control = fb_get_le16(p + MSI_CONTROL);
	unsigned len = MSI_LEAST + (control & MSI_CONTROL_64 ? 4 : 0) + (control & MSI_CONTROL_MASKING ? 10 : 0);
	unsigned log2 = (control & MSI_CONTROL_MMC) >> MSI_CONTROL_MMC_SHIFT;

	if (c->msi + len > 256)
		return too_short;
	if (log2 > 5)
		return "its MSI capability offers more than 32 vectors";
	c->msi_64 = control & MSI_CONTROL_64;
	c->msi_vectors = (uint16_t)(1u << log2);
	take(c, c->msi + MSI_CONTROL, MSI_CONTROL_TAKEN, MSI_CONTROL_TAKEN, 0, 1);
	take(c, c->msi + MSI_ADDRESS, UINT32_MAX, ~3u, 0, 4);
	if (c->msi_64)
		take(c, c->msi + MSI_UPPER_ADDRESS, UINT32_MAX, UINT32_MAX, 0, 4);
	take(c, c->msi + (c->msi_64 ? MSI_DATA : MSI_DATA_32), 0xffff, 0xffff, 0, 2);
	return NULL;
}

static const char *parse_pcie(struct fb_config *c, const uint8_t *p)
{
	uint32_t ext_tag = p[EXP_DEVCAP] & EXP_DEVCAP_EXT_TAG ? EXP_DEVCTL_EXT_TAG : 0;

	c->flr = fb_get_le32(p + EXP_DEVCAP) & EXP_DEVCAP_FLR;
	/* What the root wants on the wire: as much as the function can. MPS 2.2.2, MRRS 7.5.3.4. */
	c->mps_code = p[EXP_DEVCAP] & EXP_DEVCAP_MPS;
	if (c->mps_code > 5)
		return "its Max_Payload_Size Supported is a reserved value";
	c->mrrs_code = 5;
	take(c, c->pcie + EXP_DEVCTL, DEVCTL_TAKEN, DEVCTL_TAKEN, 2u << EXP_DEVCTL_MRRS_SHIFT | ext_tag, 2);
	set_bits(c->wire, c->pcie + EXP_DEVCTL, 0xffff,
		 (uint32_t)c->mps_code << EXP_DEVCTL_MPS_SHIFT | (uint32_t)c->mrrs_code << EXP_DEVCTL_MRRS_SHIFT | ext_tag,
		 2);
	if (fb_get_le32(p + EXP_DEVCAP2) & EXP_DEVCAP2_TEN_BIT_TAG_REQUESTER) {
		take(c, c->pcie + EXP_DEVCTL2, EXP_DEVCTL2_TEN_BIT_TAG, EXP_DEVCTL2_TEN_BIT_TAG, 0, 2);
		set_bits(c->wire, c->pcie + EXP_DEVCTL2, EXP_DEVCTL2_TEN_BIT_TAG, EXP_DEVCTL2_TEN_BIT_TAG, 2);
	}
	return NULL;
}

static const char *parse_msix(struct fb_config *c, const uint8_t *p)
{
	uint32_t table = fb_get_le32(p + MSIX_TABLE), pba = fb_get_le32(p + MSIX_PBA);

	c->msix_vectors = (uint16_t)((fb_get_le16(p + MSIX_CONTROL) & MSIX_CONTROL_SIZE) + 1);
	c->msix_bar = table & MSIX_BIR;
	c->msix_table = table & ~(uint32_t)MSIX_BIR;
	c->msix_pba_bar = pba & MSIX_BIR;
	c->msix_pba = pba & ~(uint32_t)MSIX_BIR;
	return NULL;
}

/* What the root looks into. There may be one of each (7.5.2, 7.5.3, 7.7): to hide or to take over one of two leaves the other. */
static const struct {
	uint8_t id, size; /* the least one */
	size_t place;     /* of the member that says where it is */
	const char *(*parse)(struct fb_config *c, const uint8_t *p);
} capabilities[] = {
	{PCI_CAP_PM, PM_SIZE, offsetof(struct fb_config, pm), parse_pm},
	{PCI_CAP_MSI, MSI_LEAST, offsetof(struct fb_config, msi), parse_msi},
	{PCI_CAP_EXP, EXP_SIZE, offsetof(struct fb_config, pcie), parse_pcie},
	{PCI_CAP_MSIX, MSIX_SIZE, offsetof(struct fb_config, msix), parse_msix},
};

/* What is wrong with it, or NULL. */
static const char *parse_capability(struct fb_config *c, const uint8_t *h, unsigned at)
{
	for (unsigned i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++) {
		uint16_t *place = (uint16_t *)(void *)((char *)c + capabilities[i].place);

		if (h[at] != capabilities[i].id)
			continue;
		if (*place)
			return "its capability list is broken: PM, MSI, MSI-X or PCI Express is there twice";
		if (at + capabilities[i].size > 256)
			return too_short;
		*place = (uint16_t)at;
		return capabilities[i].parse(c, h + at);
	}
	return NULL;
}

static bool msix_fits(const struct fb_config *c)
{
	const struct fb_config_bar *t, *p;

	if (c->msix_bar >= FB_CONFIG_BARS || c->msix_pba_bar >= FB_CONFIG_BARS)
		return false;
	t = &c->bars[c->msix_bar];
	p = &c->bars[c->msix_pba_bar];
	return t->present && !t->io && p->present && !p->io &&
	       fb_in_range(c->msix_table, (uint64_t)MSIX_ENTRY * c->msix_vectors, t->size) &&
	       fb_in_range(c->msix_pba, (c->msix_vectors + 63u) / 64 * 8, p->size);
}

/* Takes the MSI-X capability out of the guest's list: `link` is where the pointer to it stands. */
static void hide_capability(struct fb_config *c, const uint8_t *h, unsigned link, unsigned at, unsigned len)
{
	take(c, link, 0xff, 0, h[at + 1], 1);
	for (unsigned i = 0; i < len; i++)
		take(c, at + i, 0xff, 0, 0, 1);
}

static int parse_list(struct fb_config *c, const uint8_t *h, bool hide_msix, const char **why)
{
	unsigned link = PCI_CAP_POINTER, at, seen = 0, msix_link = 0;

	if (!(fb_get_le16(h + PCI_STATUS) & PCI_STATUS_CAP_LIST))
		return 0;
	for (at = h[link] & ~3u; at; at = h[link] & ~3u) {
		if (at < 0x40 || ++seen > 48) {
			*why = "its capability list is broken";
			return -EPROTO;
		}
		*why = parse_capability(c, h, at);
		if (*why)
			return -EPROTO;
		if (h[at] == PCI_CAP_MSIX)
			msix_link = link;
		link = at + 1;
	}
	if (c->msix && !msix_fits(c)) {
		*why = "its MSI-X table or PBA is outside its BARs";
		return -EPROTO;
	}
	if (!c->msix)
		return 0;
	if (hide_msix) {
		/* The pointer to it may itself be hidden only if it were MSI-X, and there is one such capability. */
		hide_capability(c, h, msix_link, c->msix, MSIX_SIZE);
		c->msix_hidden = true;
	} else {
		take(c, c->msix + MSIX_CONTROL, MSIX_CONTROL_TAKEN, MSIX_CONTROL_TAKEN, 0, 2);
	}
	return 0;
}

int fb_config_parse(struct fb_config *c, const uint8_t header[256], const uint32_t sizes[FB_CONFIG_BARS + 1],
		    bool hide_msix, const char **why)
{
	int err;

	memset(c, 0, sizeof(*c));
	c->vendor_id = fb_get_le16(header + PCI_VENDOR_ID);
	c->device_id = fb_get_le16(header + PCI_DEVICE_ID);
	c->class_code = fb_get_le32(header + PCI_REVISION_ID) >> 8;
	c->interrupt_pin = header[PCI_INTERRUPT_PIN];
	if (c->vendor_id == 0xffff) {
		*why = "its vendor ID reads all ones";
		return -EPROTO;
	}
	if ((header[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_LAYOUT) != 0) {
		*why = "it is not an endpoint (header type is not 0)";
		return -EPROTO;
	}
	if (c->interrupt_pin > 4) {
		*why = "its interrupt pin is a reserved value";
		return -EPROTO;
	}
	err = parse_bars(c, header, sizes, why);
	if (err < 0)
		return err;
	c->has_rom = sizes[FB_CONFIG_BARS] != 0 && sizes[FB_CONFIG_BARS] != UINT32_MAX;
	take(c, PCI_ROM, UINT32_MAX, 0, 0, 4);
	err = parse_list(c, header, hide_msix, why);
	if (err < 0)
		return err;
	err = choose_standby(c, why);
	if (err < 0)
		return err;
	fb_config_reset(c);
	return 0;
}

void fb_config_reset(struct fb_config *c)
{
	memcpy(c->shadow, c->reset_shadow, sizeof(c->shadow));
	c->command = 0;
	c->power_state = 0;
	for (unsigned i = 0; i < FB_CONFIG_BARS; i++)
		c->bars[i].address = c->bars[i].standby;
}

unsigned fb_config_program(const struct fb_config *c, struct fb_op *ops)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FB_CONFIG_BARS; i++) {
		if (c->bars[i].present)
			n += bar_ops(c, i, c->bars[i].standby, ops + n);
	}
	ops[n++] = (struct fb_op){.address = PCI_ROM, .value = 0, .be = 15, .write = true};
	if (c->pcie) {
		ops[n++] = (struct fb_op){
			.address = c->pcie + EXP_DEVCTL, .value = fb_get_le16(c->wire + c->pcie + EXP_DEVCTL), .be = 3, .write = true};
		if (c->virt[c->pcie + EXP_DEVCTL2 + 1])
			ops[n++] = (struct fb_op){.address = c->pcie + EXP_DEVCTL2,
						  .value = fb_get_le16(c->wire + c->pcie + EXP_DEVCTL2),
						  .be = 3,
						  .write = true};
	}
	return n;
}

/* ---- The guest's accesses ---------------------------------------------------------- */

static uint8_t wanted(uint32_t reg, uint32_t offset, uint32_t len)
{
	uint8_t be = 0;

	for (unsigned i = 0; i < 4; i++) {
		if (reg + i >= offset && reg + i < offset + len)
			be |= (uint8_t)(1u << i);
	}
	return be;
}

unsigned fb_config_read_ops(const struct fb_config *c, uint32_t offset, uint32_t len, struct fb_op *ops)
{
	unsigned n = 0;

	for (uint32_t reg = offset & ~3u; reg < offset + len; reg += 4) {
		uint8_t be = wanted(reg, offset, len);

		for (unsigned i = 0; i < 4; i++) {
			if (c->virt[reg + i] == 0xff)
				be &= (uint8_t) ~(1u << i);
		}
		if (be)
			ops[n++] = (struct fb_op){.address = reg, .be = be};
	}
	return n;
}

void fb_config_read_result(const struct fb_config *c, uint32_t offset, uint32_t len, const struct fb_op *ops,
			   unsigned n_ops, uint8_t *buf)
{
	unsigned k = 0;

	for (uint32_t i = 0; i < len; i++) {
		uint32_t at = offset + i;
		uint8_t v = 0;

		while (k < n_ops && ops[k].address + 4 <= at)
			k++;
		if (k < n_ops && ops[k].address <= at)
			v = (uint8_t)(ops[k].value >> (8 * (at & 3)));
		/* A function that does not answer reads all ones, whatever the shadow says. */
		if (k < n_ops && ops[k].address == (at & ~3u) && ops[k].status != PCIE_CPL_SC) {
			buf[i] = 0xff;
			continue;
		}
		buf[i] = (uint8_t)((v & ~c->virt[at]) | (c->shadow[at] & c->virt[at]));
	}
}

static bool touches(uint32_t offset, uint32_t len, uint32_t at, uint32_t n)
{
	return offset < at + n && at < offset + len;
}

/* What the write means to the root. `old_*`: before it. */
static unsigned effects(struct fb_config *c, uint32_t offset, uint32_t len, uint16_t old_command, bool flr)
{
	unsigned did = 0;

	if (touches(offset, len, PCI_BAR0, 4 * FB_CONFIG_BARS))
		did |= FB_CONFIG_DID_BAR;
	if (c->command != old_command)
		did |= FB_CONFIG_DID_COMMAND;
	if (flr)
		did |= FB_CONFIG_DID_FLR;
	if ((c->msi && touches(offset, len, c->msi + MSI_CONTROL, 1)) ||
	    (c->msix && !c->msix_hidden && touches(offset, len, c->msix + MSIX_CONTROL + 1, 1)))
		did |= FB_CONFIG_DID_MSI;
	return did;
}

unsigned fb_config_write(struct fb_config *c, uint32_t offset, uint32_t len, const uint8_t *data, struct fb_op *ops,
			 unsigned *did)
{
	uint16_t old_command = c->command;
	uint8_t old_power = c->power_state;
	bool flr = false;
	unsigned n = 0;

	for (uint32_t reg = offset & ~3u; reg < offset + len; reg += 4) {
		struct fb_op op = {.address = reg, .be = wanted(reg, offset, len), .write = true};

		for (unsigned i = 0; i < 4; i++) {
			uint32_t at = reg + i;
			uint8_t v, forced;

			if (!(op.be & 1u << i))
				continue;
			v = data[at - offset];
			if (at == PCI_COMMAND)
				c->command = (uint16_t)((c->command & 0xff00) | v);
			if (at == PCI_COMMAND + 1)
				c->command = (uint16_t)((c->command & 0x00ff) | v << 8);
			if (c->pm && at == (uint32_t)c->pm + PM_PMCSR)
				c->power_state = v & PM_PMCSR_STATE;
			forced = v;
			if (c->pcie && at == c->pcie + EXP_DEVCTL + 1u && (v & EXP_DEVCTL_FLR >> 8)) {
				flr = c->flr; /* the root does it, with all that belongs to it */
				forced &= (uint8_t) ~(EXP_DEVCTL_FLR >> 8);
			}
			c->shadow[at] = (uint8_t)((c->shadow[at] & ~c->wmask[at]) | (v & c->wmask[at]));
			if (c->virt[at] == 0xff) {
				op.be &= (uint8_t) ~(1u << i);
				continue;
			}
			forced = (uint8_t)((forced & ~c->virt[at]) | (c->wire[at] & c->virt[at]));
			op.value |= (uint32_t)forced << (8 * i);
		}
		if (op.be)
			ops[n++] = op;
	}
	*did = effects(c, offset, len, old_command, flr);
	if (old_power == 3 && c->power_state == 0 && !c->no_soft_reset)
		*did |= FB_CONFIG_DID_D0;
	return n;
}

/* ---- Interrupts, the root's side ------------------------------------------------------ */

unsigned fb_config_msi_ops(struct fb_config *c, bool enable, unsigned vectors, uint64_t address, uint16_t data,
			   struct fb_op *ops)
{
	unsigned n = 0, log2 = 0;
	uint8_t control;

	while ((1u << log2) < vectors)
		log2++;
	control = (uint8_t)((enable ? MSI_CONTROL_ENABLE : 0) | log2 << MSI_CONTROL_MME_SHIFT);
	set_bits(c->wire, c->msi + MSI_CONTROL, MSI_CONTROL_TAKEN, control, 1);
	if (enable) {
		ops[n++] = (struct fb_op){.address = c->msi + MSI_ADDRESS, .value = (uint32_t)address, .be = 15, .write = true};
		if (c->msi_64)
			ops[n++] = (struct fb_op){
				.address = c->msi + MSI_UPPER_ADDRESS, .value = (uint32_t)(address >> 32), .be = 15, .write = true};
		ops[n++] = (struct fb_op){
			.address = c->msi + (c->msi_64 ? MSI_DATA : MSI_DATA_32), .value = data, .be = 3, .write = true};
	}
	ops[n++] = (struct fb_op){.address = c->msi, .value = (uint32_t)control << 16, .be = 4, .write = true};
	return n;
}

unsigned fb_config_msix_ops(struct fb_config *c, bool enable, struct fb_op *ops)
{
	uint16_t control = enable ? MSIX_CONTROL_ENABLE : 0;

	set_bits(c->wire, c->msix + MSIX_CONTROL, MSIX_CONTROL_TAKEN, control, 2);
	ops[0] = (struct fb_op){.address = c->msix, .value = (uint32_t)control << 16, .be = 8, .write = true};
	return 1;
}

bool fb_config_guest_msi(const struct fb_config *c)
{
	return c->msi && (c->shadow[c->msi + MSI_CONTROL] & MSI_CONTROL_ENABLE);
}

bool fb_config_guest_msix(const struct fb_config *c)
{
	return c->msix && !c->msix_hidden && (fb_get_le16(c->shadow + c->msix + MSIX_CONTROL) & MSIX_CONTROL_ENABLE);
}
