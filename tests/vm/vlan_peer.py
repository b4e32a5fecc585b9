# SPDX-License-Identifier: Apache-2.0
"""vlan_peer.py INTERFACE VID ADDRESS: a host in a VLAN, for a kernel that may have none: answers ARP, ping and UDP echo.

UDP has checksums that are left to the receiver (virtio_net_hdr); what comes is answered only if its checksum is right, once
what was left open has been done. Prints "ready" when it listens.
"""

import socket
import struct
import sys

interface, vid, address = sys.argv[1], int(sys.argv[2]), socket.inet_aton(sys.argv[3])
SOL_PACKET, PACKET_AUXDATA, PACKET_VNET_HDR, ETH_P_ALL = 263, 8, 15, 3
HEADER = struct.Struct("=BBHHHH")  # flags, GSO type, length of headers, MSS, csum_start, csum_offset
NEEDS_CSUM = 1
MAC = b"\x02\xfb\0\0\x77\x01"

wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
wire.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
wire.setsockopt(SOL_PACKET, PACKET_VNET_HDR, 1)
wire.bind((interface, 0))


def checksum(data):
    total = sum(struct.unpack(f">{len(data) // 2}H", data[:len(data) // 2 * 2])) + (data[-1] << 8 if len(data) % 2 else 0)
    while total >> 16:
        total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff


def tagged(data, ancillary):
    """(VID, EtherType, what follows it); the kernel may have taken the tag out already."""
    for level, kind, value in ancillary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, _ = struct.unpack("=IIIHHHH", value[:20])
            if status & 0x10:
                return tci & 0xfff, data[12:14], data[14:]
    if data[12:14] == b"\x81\0":
        return struct.unpack(">H", data[14:16])[0] & 0xfff, data[16:18], data[18:]
    return None, data[12:14], data[14:]


def finished(data, header):
    """The frame with the checksum that its header leaves open."""
    flags, _, _, _, start, offset = HEADER.unpack(header)
    if not flags & NEEDS_CSUM:
        return data
    at = start + offset
    return data[:at] + struct.pack(">H", checksum(data[start:])) + data[at + 2:]


def pseudo(source, destination, length):
    return source + destination + struct.pack(">HH", 17, length)


def udp_echo(body):
    """The answer to an IPv4 packet, its checksum open; None: the checksum was wrong."""
    datagram = body[20:20 + struct.unpack(">H", body[24:26])[0]]
    if checksum(pseudo(body[12:16], body[16:20], len(datagram)) + datagram):
        print("UDP: wrong checksum", flush=True)
        return None
    seed = ~checksum(pseudo(body[16:20], body[12:16], len(datagram))) & 0xffff
    head = body[:10] + b"\0\0" + body[16:20] + body[12:16]
    head = head[:10] + struct.pack(">H", checksum(head)) + head[12:]
    return head + datagram[2:4] + datagram[:2] + datagram[4:6] + struct.pack(">H", seed) + datagram[8:]


print("ready", flush=True)
while True:
    data, ancillary, _, source = wire.recvmsg(70000, 100)
    data = finished(data[HEADER.size:], data[:HEADER.size])
    if source[2] == socket.PACKET_OUTGOING:
        continue
    number, kind, body = tagged(data, ancillary)
    if number != vid:
        continue
    reply, header = None, HEADER.pack(0, 0, 0, 0, 0, 0)
    if kind == b"\x08\x06" and body[6:8] == b"\0\1" and body[24:28] == address:
        reply = body[:6] + b"\0\2" + MAC + address + body[8:18]
    elif kind == b"\x08\0" and body[9] == 1 and body[16:20] == address and body[20] == 8:
        length = struct.unpack(">H", body[2:4])[0]
        icmp = b"\0\0\0\0" + body[24:length]
        icmp = icmp[:2] + struct.pack(">H", checksum(icmp)) + icmp[4:]
        head = body[:10] + b"\0\0" + address + body[12:16]
        reply = head[:10] + struct.pack(">H", checksum(head)) + head[12:] + icmp
    elif kind == b"\x08\0" and body[0] == 0x45 and body[9] == 17 and body[16:20] == address:
        reply, header = udp_echo(body), HEADER.pack(NEEDS_CSUM, 0, 0, 0, 18 + 20, 6)
    if reply:
        wire.send(header + data[6:12] + MAC + struct.pack(">HH", 0x8100, vid) + kind + reply)
