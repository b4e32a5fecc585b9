/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Registers, descriptors and PHY of the Intel 82576 Gigabit Ethernet Controller, named as its datasheet (321027) names
 * them; the numbers in comments are its sections. Register arrays are offsets of their first element.
 */
#ifndef FARBUS_DEVICES_IGB_REGS_H
#define FARBUS_DEVICES_IGB_REGS_H

#include <stdint.h>

/* ---- General (8.2) ------------------------------------------------------------------ */

enum igb_reg {
	IGB_CTRL = 0x0000,
	IGB_STATUS = 0x0008,
	IGB_EEC = 0x0010,
	IGB_EERD = 0x0014,
	IGB_CTRL_EXT = 0x0018,
	IGB_MDIC = 0x0020,
	IGB_SERDESCTL = 0x0024,
	IGB_FCAL = 0x0028,
	IGB_FCAH = 0x002c,
	IGB_FCT = 0x0030,
	IGB_CONNSW = 0x0034,
	IGB_VET = 0x0038,
	IGB_LEDCTL = 0x0e00,
	IGB_PBA = 0x1000,
	IGB_PBS = 0x1008,
	IGB_EEMNGCTL = 0x1010,
	IGB_FRTIMER = 0x1048,
	IGB_TCPTIMER = 0x104c,
	/* Interrupts (8.8) */
	IGB_ICR = 0x00c0,
	IGB_ICR_2 = 0x1500, /* the 82576's own places; those of earlier parts are aliases */
	IGB_ICS = 0x00c8,
	IGB_ICS_2 = 0x1504,
	IGB_IMS = 0x00d0,
	IGB_IMS_2 = 0x1508,
	IGB_IMC = 0x00d8,
	IGB_IMC_2 = 0x150c,
	IGB_IAM = 0x00e0,
	IGB_IAM_2 = 0x1510,
	IGB_GPIE = 0x1514,
	IGB_EICS = 0x1520,
	IGB_EIMS = 0x1524,
	IGB_EIMC = 0x1528,
	IGB_EIAC = 0x152c,
	IGB_EIAM = 0x1530,
	IGB_EICR = 0x1580,
	IGB_EITR = 0x1680,
	IGB_IVAR = 0x1700,
	IGB_IVAR_MISC = 0x1740,
	/* Receive (8.10) */
	IGB_RCTL = 0x0100,
	IGB_FCTTV = 0x0170,
	IGB_FCRTL0 = 0x2160,
	IGB_FCRTH0 = 0x2168,
	IGB_FCRTV = 0x2460,
	IGB_RXPBS = 0x2404,
	IGB_RXCSUM = 0x5000,
	IGB_RLPML = 0x5004,
	IGB_RFCTL = 0x5008,
	IGB_MTA = 0x5200,
	IGB_RA = 0x5400,
	IGB_PSRTYPE = 0x5480,
	IGB_RA2 = 0x54e0,
	IGB_VFTA = 0x5600,
	IGB_MRQC = 0x5818,
	IGB_RETA = 0x5c00,
	IGB_RSSRK = 0x5c80,
	IGB_ETQF = 0x5cb0,
	IGB_UTA = 0xa000,
	/* Transmit (8.12) */
	IGB_TCTL = 0x0400,
	IGB_TCTL_EXT = 0x0404,
	IGB_TIPG = 0x0410,
	IGB_TXPBS = 0x3404,
	IGB_DTXCTL = 0x3590,
	/* Statistics (8.19) */
	IGB_STATS = 0x4000,
	IGB_STATS_END = 0x4160,
	/* Wake-up, management, semaphores (8.4, 8.6) */
	IGB_WUC = 0x5800,
	IGB_WUFC = 0x5808,
	IGB_WUS = 0x5810,
	IGB_MANC = 0x5820,
	IGB_GCR = 0x5b00,
	IGB_FACTPS = 0x5b30,
	IGB_SWSM = 0x5b50,
	IGB_FWSM = 0x5b54,
	IGB_SW_FW_SYNC = 0x5b5c,
	/* Time synchronisation (8.16) */
	IGB_SYSTIML = 0xb600,
	IGB_SYSTIMH = 0xb604,
	IGB_TIMINCA = 0xb608,
	IGB_TSYNCTXCTL = 0xb614,
	IGB_TXSTMPL = 0xb618,
	IGB_TXSTMPH = 0xb61c,
	IGB_TSYNCRXCTL = 0xb620,
	IGB_RXSTMPL = 0xb624,
	IGB_RXSTMPH = 0xb628,
	IGB_RXSATRL = 0xb62c,
	IGB_RXSATRH = 0xb630,
	IGB_TSYNCRXCFG = 0x5f50,
};

/* Of a queue: at 2800h + 100h * n (receive) and 3800h + 100h * n (transmit) for n < 4, at C000h, E000h + 40h * n for all. */
enum igb_queue_reg {
	IGB_Q_BAL = 0x00,
	IGB_Q_BAH = 0x04,
	IGB_Q_LEN = 0x08,
	IGB_Q_SRRCTL = 0x0c, /* receive */
	IGB_Q_HEAD = 0x10,
	IGB_Q_DCA = 0x14,
	IGB_Q_TAIL = 0x18,
	IGB_Q_CTL = 0x28,    /* RXDCTL, TXDCTL */
	IGB_Q_RQDPC = 0x30,  /* receive: dropped packets */
	IGB_Q_WBAL = 0x38,   /* transmit: head write-back; receive: DVMOLR */
	IGB_Q_WBAH = 0x3c,
};

/* CTRL */
#define IGB_CTRL_FD 0x00000001u
#define IGB_CTRL_GIO_MASTER_DISABLE 0x00000004u
#define IGB_CTRL_SLU 0x00000040u
#define IGB_CTRL_RST 0x04000000u
#define IGB_CTRL_VME 0x40000000u
#define IGB_CTRL_PHY_RST 0x80000000u
/* STATUS */
#define IGB_STATUS_FD 0x00000001u
#define IGB_STATUS_LU 0x00000002u
#define IGB_STATUS_SPEED_1000 0x00000080u
#define IGB_STATUS_PHYRA 0x00000400u
#define IGB_STATUS_GIO_MASTER_ENABLE 0x00080000u
/* EEC: the EEPROM is there, its auto-read is done, 1,024 words, 16-bit addresses */
#define IGB_EEC_REQ 0x00000040u
#define IGB_EEC_GNT 0x00000080u
#define IGB_EEC_PRES 0x00000100u
#define IGB_EEC_AUTO_RD 0x00000200u
#define IGB_EEC_ADDR_BITS 0x00000400u
#define IGB_EEC_SIZE_1K_WORDS (4u << 11)
/* EERD */
#define IGB_EERD_START 0x00000001u
#define IGB_EERD_DONE 0x00000002u
/* MDIC */
#define IGB_MDIC_OP_WRITE 0x04000000u
#define IGB_MDIC_OP_READ 0x08000000u
#define IGB_MDIC_READY 0x10000000u
#define IGB_MDIC_INT_EN 0x20000000u
#define IGB_MDIC_ERROR 0x40000000u
/* SWSM */
#define IGB_SWSM_SMBI 0x00000001u
#define IGB_SWSM_SWESMBI 0x00000002u
/* EEMNGCTL: configuration of both ports is done */
#define IGB_EEMNGCTL_CFG_DONE 0x000c0000u

/* ICR, ICS, IMS, IMC, IAM */
#define IGB_ICR_TXDW 0x00000001u
#define IGB_ICR_LSC 0x00000004u
#define IGB_ICR_RXDMT0 0x00000010u
#define IGB_ICR_RXMISS 0x00000040u
#define IGB_ICR_RXDW 0x00000080u
#define IGB_ICR_MDAC 0x00000200u
#define IGB_ICR_DRSTA 0x40000000u
#define IGB_ICR_INTA 0x80000000u
/* EICR without MSI-X mode */
#define IGB_EICR_OTHER 0x80000000u
/* GPIE */
#define IGB_GPIE_NSICR 0x00000001u
#define IGB_GPIE_MULTIPLE_MSIX 0x00000010u
#define IGB_GPIE_EIAME 0x40000000u
#define IGB_IVAR_VALID 0x80u
/* EITR: interval in microseconds in 14:2; bit 31 of a write: leave the counter alone */
#define IGB_EITR_INTERVAL 0x00007ffcu
#define IGB_EITR_CNT_INGR 0x80000000u

/* RCTL */
#define IGB_RCTL_RXEN 0x00000002u
#define IGB_RCTL_SBP 0x00000004u
#define IGB_RCTL_UPE 0x00000008u
#define IGB_RCTL_MPE 0x00000010u
#define IGB_RCTL_LPE 0x00000020u
#define IGB_RCTL_LBM 0x000000c0u
#define IGB_RCTL_BAM 0x00008000u
#define IGB_RCTL_BSIZE 0x00030000u
#define IGB_RCTL_VFE 0x00040000u
#define IGB_RCTL_CFIEN 0x00080000u
#define IGB_RCTL_CFI 0x00100000u
#define IGB_RCTL_PMCF 0x00800000u
#define IGB_RCTL_SECRC 0x04000000u
/* SRRCTL */
#define IGB_SRRCTL_BSIZEPACKET 0x0000007fu /* units of 1 KiB */
#define IGB_SRRCTL_DESCTYPE 0x0e000000u
#define IGB_SRRCTL_LEGACY 0x00000000u
#define IGB_SRRCTL_ONEBUF 0x02000000u
#define IGB_SRRCTL_SPLIT 0x04000000u
#define IGB_SRRCTL_SPLIT_ALWAYS 0x0a000000u
#define IGB_SRRCTL_DROP_EN 0x80000000u
/* RXDCTL, TXDCTL */
#define IGB_QCTL_ENABLE 0x02000000u
#define IGB_QCTL_SWFLUSH 0x04000000u
/* RXCSUM */
#define IGB_RXCSUM_PCSS 0x000000ffu
#define IGB_RXCSUM_IPOFLD 0x00000100u
#define IGB_RXCSUM_TUOFLD 0x00000200u
#define IGB_RXCSUM_CRCOFL 0x00000800u
#define IGB_RXCSUM_PCSD 0x00002000u
/* RFCTL */
#define IGB_RFCTL_IPV6_EX_DIS 0x00010000u
/* MRQC */
#define IGB_MRQC_ENABLE 0x00000007u
#define IGB_MRQC_RSS 0x00000002u
#define IGB_MRQC_DEFQ(v) ((v) >> 3 & 7)
#define IGB_MRQC_TCPIPV4 0x00010000u
#define IGB_MRQC_IPV4 0x00020000u
#define IGB_MRQC_TCPIPV6EX 0x00040000u
#define IGB_MRQC_IPV6EX 0x00080000u
#define IGB_MRQC_IPV6 0x00100000u
#define IGB_MRQC_TCPIPV6 0x00200000u
#define IGB_MRQC_UDPIPV4 0x00400000u
#define IGB_MRQC_UDPIPV6 0x00800000u
#define IGB_MRQC_UDPIPV6EX 0x01000000u
/* RAH */
#define IGB_RAH_AV 0x80000000u
/* ETQF */
#define IGB_ETQF_ENABLE 0x04000000u
#define IGB_ETQF_QUEUE_ENABLE 0x80000000u
#define IGB_ETQF_QUEUE(v) ((v) >> 16 & 7)
/* TCTL */
#define IGB_TCTL_EN 0x00000002u
#define IGB_TCTL_PSP 0x00000008u
/* TSYNCTXCTL, TSYNCRXCTL */
#define IGB_TSYNC_VALID 0x00000001u
#define IGB_TSYNC_EN 0x00000010u

/* ---- Statistics, as indices of 4-byte registers from 4000h ------------------------------ */

enum igb_stat {
	IGB_STAT_CRCERRS = 0x00, IGB_STAT_RXERRC = 0x03, IGB_STAT_MPC = 0x04, IGB_STAT_RLEC = 0x10,
	IGB_STAT_PRC64 = 0x17, /* PRC127 … PRC1522 follow */
	IGB_STAT_GPRC = 0x1d, IGB_STAT_BPRC = 0x1e, IGB_STAT_MPRC = 0x1f, IGB_STAT_GPTC = 0x20,
	IGB_STAT_GORC = 0x22, IGB_STAT_GOTC = 0x24, /* 64 bits: low, high */
	IGB_STAT_RNBC = 0x28, IGB_STAT_RUC = 0x29, IGB_STAT_ROC = 0x2b,
	IGB_STAT_TOR = 0x30, IGB_STAT_TOT = 0x32, /* 64 bits */
	IGB_STAT_TPR = 0x34, IGB_STAT_TPT = 0x35,
	IGB_STAT_PTC64 = 0x36, /* PTC127 … PTC1522 follow */
	IGB_STAT_MPTC = 0x3c, IGB_STAT_BPTC = 0x3d, IGB_STAT_TSCTC = 0x3e,
	IGB_STAT_IAC = 0x40, IGB_STAT_RPTHC = 0x41, IGB_STAT_HGPTC = 0x46,
	IGB_STAT_HGORC = 0x4a, IGB_STAT_HGOTC = 0x4c, /* 64 bits */
	IGB_STAT_LENERRS = 0x4e,
	IGB_STAT_COUNT = 0x58,
};

/* ---- PHY (IEEE 802.3 clause 22, and this one's own) --------------------------------------- */

enum igb_phy_reg {
	IGB_PHY_CONTROL = 0,
	IGB_PHY_STATUS = 1,
	IGB_PHY_ID1 = 2,
	IGB_PHY_ID2 = 3,
	IGB_PHY_ADVERTISE = 4,
	IGB_PHY_LP_ABILITY = 5,
	IGB_PHY_EXPANSION = 6,
	IGB_PHY_1000T_CONTROL = 9,
	IGB_PHY_1000T_STATUS = 10,
	IGB_PHY_EXTENDED_STATUS = 15,
	IGB_PHY_PORT_STATUS = 17,
	IGB_PHY_PAGE_SELECT = 31,
};

#define IGB_PHY_ADDRESS 1u
#define IGB_PHY_ID 0x02a80391u
#define IGB_PHY_CONTROL_RESET 0x8000u
#define IGB_PHY_CONTROL_LOOPBACK 0x4000u
#define IGB_PHY_CONTROL_AUTONEG 0x1000u
#define IGB_PHY_CONTROL_POWER_DOWN 0x0800u
#define IGB_PHY_CONTROL_RESTART 0x0200u
#define IGB_PHY_CONTROL_DEFAULT 0x1140u
#define IGB_PHY_STATUS_CAPS 0x7949u /* 100/10 full and half, extended status, autonegotiation */
#define IGB_PHY_STATUS_AUTONEG_DONE 0x0020u
#define IGB_PHY_STATUS_LINK 0x0004u
#define IGB_PHY_PORT_1000_FULL 0xc200u /* speed in 15:14; no MDI-X (0800h), no reversed polarity (0002h) */

/* ---- EEPROM words --------------------------------------------------------------------------- */

enum {
	IGB_NVM_WORDS = 1024,
	IGB_NVM_MAC = 0,
	IGB_NVM_COMPAT = 3,
	IGB_NVM_LED = 4,
	IGB_NVM_VERSION = 5,
	IGB_NVM_PBA = 8,
	IGB_NVM_INIT_CONTROL_1 = 0x0a,
	IGB_NVM_SUBSYSTEM_ID = 0x0b,
	IGB_NVM_SUBSYSTEM_VENDOR = 0x0c,
	IGB_NVM_DEVICE_ID = 0x0d,
	IGB_NVM_INIT_CONTROL_2 = 0x0f,
	IGB_NVM_ALT_MAC = 0x37,
	IGB_NVM_CHECKSUM = 0x3f,
	IGB_NVM_SUM = 0xbaba, /* of words 0 to 3Fh */
};

/* ---- Transmit descriptors (7.2.2): 16 bytes, little-endian -------------------------------------- */

#define IGB_TXD_LEN 0x0000ffffu
#define IGB_TXD_EOP 0x01000000u
#define IGB_TXD_IC 0x04000000u /* legacy: insert checksum */
#define IGB_TXD_RS 0x08000000u
#define IGB_TXD_DEXT 0x20000000u
#define IGB_TXD_VLE 0x40000000u
#define IGB_TXD_TSE 0x80000000u
#define IGB_TXD_TSTAMP 0x00080000u
#define IGB_TXD_DTYP 0x00f00000u
#define IGB_TXD_DTYP_CONTEXT 0x00200000u
#define IGB_TXD_DTYP_DATA 0x00300000u
#define IGB_TXD_IDX(olinfo) ((olinfo) >> 4 & 1)
#define IGB_TXD_IXSM 0x00000100u
#define IGB_TXD_TXSM 0x00000200u
#define IGB_TXD_DD 0x00000001u
/* Context: dword 0 VLAN 31:16, MACLEN 15:9, IPLEN 8:0; dword 3 MSS 31:16, L4LEN 15:8, IDX 6:4 */
#define IGB_TXC_IPV4 0x00000400u
#define IGB_TXC_L4T 0x00001800u
#define IGB_TXC_L4T_TCP 0x00000800u
#define IGB_TXC_L4T_SCTP 0x00001000u

/* ---- Receive descriptors (7.1.5) ------------------------------------------------------------------ */

#define IGB_RXD_DD 0x00000001u
#define IGB_RXD_EOP 0x00000002u
#define IGB_RXD_IXSM 0x00000004u /* legacy: ignore checksum indication */
#define IGB_RXD_VP 0x00000008u
#define IGB_RXD_UDPCS 0x00000010u
#define IGB_RXD_L4CS 0x00000020u
#define IGB_RXD_IPCS 0x00000040u
#define IGB_RXD_PIF 0x00000080u
#define IGB_RXD_TS 0x00010000u
#define IGB_RXD_L4E 0x20000000u
#define IGB_RXD_IPE 0x40000000u
#define IGB_RXD_RXE 0x80000000u
/* Legacy errors */
#define IGB_RXL_L4E 0x20u
#define IGB_RXL_IPE 0x40u
/* Packet type in dword 0, 16:4 */
#define IGB_RXD_IPV4 0x0010u
#define IGB_RXD_IPV4E 0x0020u
#define IGB_RXD_IPV6 0x0040u
#define IGB_RXD_IPV6E 0x0080u
#define IGB_RXD_TCP 0x0100u
#define IGB_RXD_UDP 0x0200u
#define IGB_RXD_SCTP 0x0400u
#define IGB_RXD_HDR_LEN_SHIFT 21
#define IGB_RXD_SPH 0x80000000u

enum igb_rss_type {
	IGB_RSS_NONE = 0,
	IGB_RSS_TCPIPV4 = 1,
	IGB_RSS_IPV4 = 2,
	IGB_RSS_TCPIPV6 = 3,
	IGB_RSS_IPV6EX = 4,
	IGB_RSS_IPV6 = 5,
	IGB_RSS_TCPIPV6EX = 6,
	IGB_RSS_UDPIPV4 = 7,
	IGB_RSS_UDPIPV6 = 8,
	IGB_RSS_UDPIPV6EX = 9,
};

#endif
