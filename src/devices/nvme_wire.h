/* SPDX-License-Identifier: Apache-2.0 */
/*
 * NVM Express 1.4: registers, queue entries, data structures and codes, named
 * as the specification names them. Section numbers are those of revision 1.4b.
 *
 * Everything in guest memory is little-endian and may be unaligned for us: the
 * fields are byte arrays, read and written through get/put accessors only.
 */
#ifndef FARBUS_DEVICES_NVME_WIRE_H
#define FARBUS_DEVICES_NVME_WIRE_H

#include <stdint.h>

#include "util/reader.h"

typedef struct { uint8_t b[2]; } nvme_le16;
typedef struct { uint8_t b[4]; } nvme_le32;
typedef struct { uint8_t b[8]; } nvme_le64;
typedef struct { uint8_t b[16]; } nvme_le128;

static inline uint16_t nvme_get16(nvme_le16 v) { return fb_get_le16(v.b); }
static inline uint32_t nvme_get32(nvme_le32 v) { return fb_get_le32(v.b); }
static inline uint64_t nvme_get64(nvme_le64 v) { return fb_get_le64(v.b); }
static inline void nvme_put16(nvme_le16 *p, uint16_t v) { fb_put_le16(p->b, v); }
static inline void nvme_put32(nvme_le32 *p, uint32_t v) { fb_put_le32(p->b, v); }
static inline void nvme_put64(nvme_le64 *p, uint64_t v) { fb_put_le64(p->b, v); }
static inline void nvme_put128(nvme_le128 *p, uint64_t v) { fb_put_le64(p->b, v); fb_put_le64(p->b + 8, 0); }

/* ---- Registers (3.1) ------------------------------------------------------ */

enum {
	NVME_REG_CAP = 0x00,
	NVME_REG_VS = 0x08,
	NVME_REG_INTMS = 0x0c,
	NVME_REG_INTMC = 0x10,
	NVME_REG_CC = 0x14,
	NVME_REG_CSTS = 0x1c,
	NVME_REG_NSSR = 0x20,
	NVME_REG_AQA = 0x24,
	NVME_REG_ASQ = 0x28,
	NVME_REG_ACQ = 0x30,
	NVME_REG_DBS = 0x1000, /* doorbells: SQyTDBL at 1000h + 8y, CQyHDBL at 1004h + 8y (CAP.DSTRD 0) */
};

#define NVME_VS_1_4 0x00010400u
#define NVME_NSSR_MAGIC 0x4e564d65u /* "NVMe" */

enum {
	NVME_CC_EN = 1u << 0,
	NVME_CC_SHN_NONE = 0,
	NVME_CC_SHN_NORMAL = 1,
	NVME_CC_SHN_ABRUPT = 2,
	NVME_CSTS_RDY = 1u << 0,
	NVME_CSTS_CFS = 1u << 1,
	NVME_CSTS_SHST = 3u << 2,
	NVME_CSTS_SHST_OCCURRING = 1u << 2,
	NVME_CSTS_SHST_COMPLETE = 2u << 2,
	NVME_CSTS_NSSRO = 1u << 4,
};

static inline unsigned nvme_cc_css(uint32_t cc) { return cc >> 4 & 7; }
static inline unsigned nvme_cc_mps(uint32_t cc) { return cc >> 7 & 15; }
static inline unsigned nvme_cc_ams(uint32_t cc) { return cc >> 11 & 7; }
static inline unsigned nvme_cc_shn(uint32_t cc) { return cc >> 14 & 3; }
static inline unsigned nvme_cc_iosqes(uint32_t cc) { return cc >> 16 & 15; }
static inline unsigned nvme_cc_iocqes(uint32_t cc) { return cc >> 20 & 15; }

/* ---- Queue entries (4.2, 4.6) ---------------------------------------------- */

struct nvme_sgl_descriptor { /* 4.4 */
	nvme_le64 addr;
	nvme_le32 length;
	uint8_t reserved[3];
	uint8_t type; /* type in bits 7:4, subtype in bits 3:0 */
};
_Static_assert(sizeof(struct nvme_sgl_descriptor) == 16, "SGL descriptor");

enum {
	NVME_SGL_DATA_BLOCK = 0x0,
	NVME_SGL_BIT_BUCKET = 0x1,
	NVME_SGL_SEGMENT = 0x2,
	NVME_SGL_LAST_SEGMENT = 0x3,
};

struct nvme_sqe {
	uint8_t opc;
	uint8_t flags; /* FUSE in 1:0, PSDT in 7:6 */
	nvme_le16 cid;
	nvme_le32 nsid;
	nvme_le32 cdw2, cdw3;
	nvme_le64 mptr;
	union {
		struct {
			nvme_le64 prp1, prp2;
		};
		struct nvme_sgl_descriptor sgl1;
	};
	nvme_le32 cdw10, cdw11, cdw12, cdw13, cdw14, cdw15;
};
_Static_assert(sizeof(struct nvme_sqe) == 64, "submission queue entry");

struct nvme_cqe {
	nvme_le32 dw0;
	nvme_le32 dw1;
	nvme_le16 sqhd, sqid;
	nvme_le16 cid;
	nvme_le16 status; /* phase tag in bit 0, status field in 15:1 */
};
_Static_assert(sizeof(struct nvme_cqe) == 16, "completion queue entry");

/* Status field without the phase tag (4.6.1): SC in 7:0, SCT in 10:8, M in 13, DNR in 14. */
enum {
	NVME_SC_M = 1 << 13,
	NVME_SC_DNR = 1 << 14,

	NVME_SC_SUCCESS = 0x000,
	NVME_SC_INVALID_OPCODE = 0x001,
	NVME_SC_INVALID_FIELD = 0x002,
	NVME_SC_DATA_TRANSFER_ERROR = 0x004,
	NVME_SC_INTERNAL_ERROR = 0x006,
	NVME_SC_ABORT_REQUESTED = 0x007,
	NVME_SC_ABORT_SQ_DELETION = 0x008,
	NVME_SC_INVALID_NAMESPACE = 0x00b,
	NVME_SC_COMMAND_SEQUENCE = 0x00c,
	NVME_SC_INVALID_SGL_SEGMENT = 0x00d,
	NVME_SC_INVALID_SGL_COUNT = 0x00e,
	NVME_SC_SGL_DATA_LENGTH = 0x00f,
	NVME_SC_SGL_TYPE = 0x011,
	NVME_SC_PRP_OFFSET = 0x013,
	NVME_SC_NS_WRITE_PROTECTED = 0x020,
	NVME_SC_LBA_RANGE = 0x080,
	NVME_SC_CAPACITY_EXCEEDED = 0x081,
	NVME_SC_FORMAT_IN_PROGRESS = 0x084,

	NVME_SC_CQ_INVALID = 0x100,
	NVME_SC_INVALID_QID = 0x101,
	NVME_SC_INVALID_QUEUE_SIZE = 0x102,
	NVME_SC_AER_LIMIT = 0x105,
	NVME_SC_INVALID_VECTOR = 0x108,
	NVME_SC_INVALID_LOG_PAGE = 0x109,
	NVME_SC_INVALID_FORMAT = 0x10a,
	NVME_SC_INVALID_QUEUE_DELETION = 0x10c,
	NVME_SC_FEATURE_NOT_SAVEABLE = 0x10d,
	NVME_SC_FEATURE_NOT_CHANGEABLE = 0x10e,
	NVME_SC_FEATURE_NOT_NS_SPECIFIC = 0x10f,

	NVME_SC_WRITE_FAULT = 0x280,
	NVME_SC_UNRECOVERED_READ = 0x281,
	NVME_SC_COMPARE_FAILURE = 0x285,
};

/* ---- Commands (5, 6) --------------------------------------------------------- */

enum {
	NVME_ADM_DELETE_SQ = 0x00,
	NVME_ADM_CREATE_SQ = 0x01,
	NVME_ADM_GET_LOG_PAGE = 0x02,
	NVME_ADM_DELETE_CQ = 0x04,
	NVME_ADM_CREATE_CQ = 0x05,
	NVME_ADM_IDENTIFY = 0x06,
	NVME_ADM_ABORT = 0x08,
	NVME_ADM_SET_FEATURES = 0x09,
	NVME_ADM_GET_FEATURES = 0x0a,
	NVME_ADM_ASYNC_EVENT = 0x0c,
	NVME_ADM_DBBUF_CONFIG = 0x7c,
	NVME_ADM_FORMAT = 0x80,

	NVME_CMD_FLUSH = 0x00,
	NVME_CMD_WRITE = 0x01,
	NVME_CMD_READ = 0x02,
	NVME_CMD_COMPARE = 0x05,
	NVME_CMD_WRITE_ZEROES = 0x08,
	NVME_CMD_DSM = 0x09,
	NVME_CMD_VERIFY = 0x0c,
};

enum {
	NVME_RW_FUA = 1u << 30,  /* CDW12 */
	NVME_WZ_DEAC = 1u << 25, /* CDW12 */
	NVME_DSM_AD = 1u << 2,   /* CDW11 */
};

struct nvme_dsm_range {
	nvme_le32 attributes;
	nvme_le32 length; /* logical blocks */
	nvme_le64 slba;
};
_Static_assert(sizeof(struct nvme_dsm_range) == 16, "DSM range");

/* ---- Identify (5.15) ------------------------------------------------------------ */

enum {
	NVME_CNS_NS = 0x00,
	NVME_CNS_CTRL = 0x01,
	NVME_CNS_NS_LIST = 0x02,
	NVME_CNS_NS_DESCRIPTORS = 0x03,
	NVME_CNS_CS_CTRL = 0x06, /* of 2.0: Linux asks for it; command set specific limits */
	NVME_CNS_ALLOCATED_LIST = 0x10,
	NVME_CNS_ALLOCATED_NS = 0x11,
	NVME_CNS_NS_CTRL_LIST = 0x12,
	NVME_CNS_CTRL_LIST = 0x13,
};

struct nvme_lbaf {
	nvme_le16 ms;
	uint8_t lbads;
	uint8_t rp;
};

struct nvme_id_ns {
	nvme_le64 nsze, ncap, nuse;
	uint8_t nsfeat, nlbaf, flbas, mc, dpc, dps, nmic, rescap, fpi, dlfeat;
	nvme_le16 nawun, nawupf, nacwu, nabsn, nabo, nabspf, noiob;
	nvme_le128 nvmcap;
	nvme_le16 npwg, npwa, npdg, npda, nows;
	uint8_t reserved74[18];
	nvme_le32 anagrpid;
	uint8_t reserved96[3];
	uint8_t nsattr;
	nvme_le16 nvmsetid, endgid;
	uint8_t nguid[16];
	uint8_t eui64[8];
	struct nvme_lbaf lbaf[16];
	uint8_t reserved192[192];
	uint8_t vs[3712];
};
_Static_assert(sizeof(struct nvme_id_ns) == 4096, "Identify Namespace");
_Static_assert(offsetof(struct nvme_id_ns, nvmcap) == 48, "NVMCAP");
_Static_assert(offsetof(struct nvme_id_ns, nsattr) == 99, "NSATTR");
_Static_assert(offsetof(struct nvme_id_ns, nguid) == 104, "NGUID");
_Static_assert(offsetof(struct nvme_id_ns, lbaf) == 128, "LBAF0");

struct nvme_psd { /* power state descriptor */
	nvme_le16 mp;
	uint8_t reserved2, flags;
	nvme_le32 enlat, exlat;
	uint8_t rrt, rrl, rwt, rwl;
	nvme_le16 idlp;
	uint8_t ips, reserved19;
	nvme_le16 actp;
	uint8_t apws, reserved23[9];
};
_Static_assert(sizeof(struct nvme_psd) == 32, "power state descriptor");

struct nvme_id_ctrl {
	nvme_le16 vid, ssvid;
	char sn[20], mn[40], fr[8];
	uint8_t rab, ieee[3], cmic, mdts;
	nvme_le16 cntlid;
	nvme_le32 ver, rtd3r, rtd3e, oaes, ctratt;
	nvme_le16 rrls;
	uint8_t reserved102[9], cntrltype, fguid[16];
	nvme_le16 crdt[3];
	uint8_t reserved134[119], nvmsr, vwci, mec;
	nvme_le16 oacs;
	uint8_t acl, aerl, frmw, lpa, elpe, npss, avscc, apsta;
	nvme_le16 wctemp, cctemp, mtfa;
	nvme_le32 hmpre, hmmin;
	nvme_le128 tnvmcap, unvmcap;
	nvme_le32 rpmbs;
	nvme_le16 edstt;
	uint8_t dsto, fwug;
	nvme_le16 kas, hctma, mntmt, mxtmt;
	nvme_le32 sanicap, hmminds;
	nvme_le16 hmmaxd, nsetidmax, endgidmax;
	uint8_t anatt, anacap;
	nvme_le32 anagrpmax, nanagrpid, pels;
	uint8_t reserved356[156];
	uint8_t sqes, cqes;
	nvme_le16 maxcmd;
	nvme_le32 nn;
	nvme_le16 oncs, fuses;
	uint8_t fna, vwc;
	nvme_le16 awun, awupf;
	uint8_t nvscc, nwpc;
	nvme_le16 acwu;
	uint8_t reserved534[2];
	nvme_le32 sgls, mnan;
	uint8_t reserved544[224];
	char subnqn[256];
	uint8_t reserved1024[768], nvmeof[256];
	struct nvme_psd psd[32];
	uint8_t vs[1024];
};
_Static_assert(sizeof(struct nvme_id_ctrl) == 4096, "Identify Controller");
_Static_assert(offsetof(struct nvme_id_ctrl, cntlid) == 78, "CNTLID");
_Static_assert(offsetof(struct nvme_id_ctrl, cntrltype) == 111, "CNTRLTYPE");
_Static_assert(offsetof(struct nvme_id_ctrl, oacs) == 256, "OACS");
_Static_assert(offsetof(struct nvme_id_ctrl, tnvmcap) == 280, "TNVMCAP");
_Static_assert(offsetof(struct nvme_id_ctrl, kas) == 320, "KAS");
_Static_assert(offsetof(struct nvme_id_ctrl, pels) == 352, "PELS");
_Static_assert(offsetof(struct nvme_id_ctrl, sqes) == 512, "SQES");
_Static_assert(offsetof(struct nvme_id_ctrl, sgls) == 536, "SGLS");
_Static_assert(offsetof(struct nvme_id_ctrl, subnqn) == 768, "SUBNQN");
_Static_assert(offsetof(struct nvme_id_ctrl, psd) == 2048, "PSD0");

enum {
	NVME_OACS_FORMAT = 1 << 1,
	NVME_OACS_DBBUF = 1 << 8, /* Doorbell Buffer Config */
	NVME_ONCS_COMPARE = 1 << 0,
	NVME_ONCS_DSM = 1 << 2,
	NVME_ONCS_WRITE_ZEROES = 1 << 3,
	NVME_ONCS_SELECT = 1 << 4,
	NVME_ONCS_TIMESTAMP = 1 << 6,
	NVME_ONCS_VERIFY = 1 << 7,
	NVME_NIDT_UUID = 3, /* Namespace Identification Descriptor */
};

/* ---- Logs (5.14) ------------------------------------------------------------------ */

enum {
	NVME_LOG_ERROR = 0x01,
	NVME_LOG_SMART = 0x02,
	NVME_LOG_FIRMWARE = 0x03,
	NVME_LOG_CHANGED_NS = 0x04,
	NVME_LOG_EFFECTS = 0x05,
};

struct nvme_error_entry {
	nvme_le64 error_count;
	nvme_le16 sqid, cid, status, location;
	nvme_le64 lba;
	nvme_le32 nsid;
	uint8_t vs, trtype, reserved30[2];
	nvme_le64 command_specific;
	nvme_le16 transport_specific;
	uint8_t reserved42[22];
};
_Static_assert(sizeof(struct nvme_error_entry) == 64, "error information entry");

struct nvme_smart_log {
	uint8_t critical_warning;
	nvme_le16 composite_temperature;
	uint8_t avail_spare, spare_thresh, percent_used, endurance_warning, reserved7[25];
	nvme_le128 data_units_read, data_units_written, host_reads, host_writes, busy_time, power_cycles;
	nvme_le128 power_on_hours, unsafe_shutdowns, media_errors, num_err_log_entries;
	nvme_le32 warning_temp_time, critical_temp_time;
	nvme_le16 temp_sensor[8];
	nvme_le32 tmt1_count, tmt2_count, tmt1_time, tmt2_time;
	uint8_t reserved232[280];
};
_Static_assert(sizeof(struct nvme_smart_log) == 512, "SMART / health log");
_Static_assert(offsetof(struct nvme_smart_log, data_units_read) == 32, "data units read");
_Static_assert(offsetof(struct nvme_smart_log, warning_temp_time) == 192, "warning temperature time");

struct nvme_firmware_log {
	uint8_t afi, reserved1[7];
	char frs[7][8];
	uint8_t reserved64[448];
};
_Static_assert(sizeof(struct nvme_firmware_log) == 512, "firmware slot log");

struct nvme_effects_log {
	nvme_le32 acs[256], iocs[256];
	uint8_t reserved[2048];
};
_Static_assert(sizeof(struct nvme_effects_log) == 4096, "commands supported and effects");

/* ---- Asynchronous events (5.2) ---------------------------------------------------- */

enum nvme_event_type {
	NVME_EVENT_ERROR = 0,
	NVME_EVENT_SMART = 1,
	NVME_EVENT_NOTICE = 2,
	NVME_EVENT_TYPES = 3,
};

enum {
	NVME_EVENT_INVALID_DOORBELL = 0x00,       /* error: a doorbell of a queue that does not exist */
	NVME_EVENT_INVALID_DOORBELL_VALUE = 0x01, /* error */
	NVME_EVENT_TEMPERATURE = 0x01,            /* SMART */
	NVME_EVENT_NS_CHANGED = 0x00,             /* notice */
};

enum {
	NVME_AEC_TEMPERATURE = 1u << 1, /* Asynchronous Event Configuration, 5.21.1.11 */
	NVME_AEC_NS_ATTRIBUTE = 1u << 8,
};

/* ---- Features (5.21) ---------------------------------------------------------------- */

enum {
	NVME_FEAT_ARBITRATION = 0x01,
	NVME_FEAT_POWER = 0x02,
	NVME_FEAT_TEMPERATURE = 0x04,
	NVME_FEAT_ERROR_RECOVERY = 0x05,
	NVME_FEAT_VWC = 0x06,
	NVME_FEAT_QUEUES = 0x07,
	NVME_FEAT_COALESCING = 0x08,
	NVME_FEAT_VECTOR = 0x09,
	NVME_FEAT_ATOMICITY = 0x0a,
	NVME_FEAT_EVENTS = 0x0b,
	NVME_FEAT_TIMESTAMP = 0x0e,
	NVME_FEAT_HOST_ID = 0x81,
};

#endif
