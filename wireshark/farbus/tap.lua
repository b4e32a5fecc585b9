-- SPDX-License-Identifier: Apache-2.0
-- The header in front of each TLP in farbus's captures (src/capture/pcapng.h). Wireshark finds this dissector by the name that
-- the capture has for it ("exported PDU"), so no link type has to be configured.
return function(farbus)

local tap = Proto("fbtap", "Farbus capture")

-- enum pcie_tlp_error
local errors = {[0] = "well-formed", "ends inside its header", "reserved type", "payload shorter than Length",
                "bytes left over", "byte enables", "crosses 4 KiB", "4DW header below 4 GiB",
                "Cfg or I/O with Length, TC, Attr, AT or last BE", "AtomicOp operand size or alignment",
                "message routing, TC or payload", "completion counts contradict",
                "prefix unknown, misplaced or too many", "ECRC", "payload above Max_Payload_Size", "field out of range"}

local f = {
    version = ProtoField.uint8("fbtap.version", "Version"),
    hlen = ProtoField.uint8("fbtap.hlen", "Header length"),
    up = ProtoField.bool("fbtap.up", "From the function to the root", 8, nil, 0x01),
    at_root = ProtoField.bool("fbtap.at_root", "Captured at the root's end", 8, nil, 0x02),
    sent = ProtoField.bool("fbtap.sent", "Sent by the daemon that captured", 8, nil, 0x04),
    carrier = ProtoField.uint8("fbtap.carrier", "Carrier", base.DEC, {[0] = "link", "loopback", "SoftPCIe"}),
    session = ProtoField.uint64("fbtap.session", "Session", base.HEX),
    error = ProtoField.uint8("fbtap.error", "Decoder", base.DEC, errors),
    func = ProtoField.string("fbtap.function", "Function"),
    direction = ProtoField.string("fbtap.direction", "Direction"),
}
local list = {}
for _, field in pairs(f) do list[#list + 1] = field end
tap.fields = list
local bad = ProtoExpert.new("fbtap.expert.header", "Header that is cut off or not known", expert.group.MALFORMED,
                            expert.severity.ERROR)
tap.experts = {bad}

function tap.dissector(buf, pinfo, root)
    pinfo.cols.protocol = "TLP"
    local tree = root:add(tap, buf(0, math.min(buf:len(), 14)))
    if buf:len() < 14 or buf(0, 1):uint() ~= 1 or buf(1, 1):uint() < 14 or buf(1, 1):uint() > buf:len() or
       buf(13, 1):uint() > buf(1, 1):uint() - 14 then
        tree:add_proto_expert_info(bad)
        return buf:len()
    end
    local hlen, up = buf(1, 1):uint(), buf(2, 1):bitfield(7, 1) == 1
    local name = buf(13, 1):uint() > 0 and farbus.text(buf(14, buf(13, 1):uint())) or ""
    local direction = up and "up" or "down"
    tree:set_len(hlen)
    tree:add(f.version, buf(0, 1))
    tree:add(f.hlen, buf(1, 1))
    tree:add(f.up, buf(2, 1))
    tree:add(f.at_root, buf(2, 1))
    tree:add(f.sent, buf(2, 1))
    tree:add(f.carrier, buf(3, 1))
    tree:add(f.session, buf(4, 8))
    tree:add(f.error, buf(12, 1))
    tree:add(f.func, buf(13, 1 + buf(13, 1):uint()), name)
    tree:add(f.direction, buf(2, 1), direction):set_generated()
    tree:append_text(", " .. name .. " " .. direction)
    pinfo.cols.src = up and name or "root"
    pinfo.cols.dst = up and "root" or name

    local session = name .. buf(4, 8):uint64():tohex() .. "/"
    local flow = {own = session .. direction, request = session .. (up and "down" or "up")}
    local error = buf(12, 1):uint()
    if hlen < buf:len() then
        pinfo.cols.info = farbus.dissect_tlp(buf(hlen):tvb(), pinfo, root, flow, 1, error ~= 0 and (errors[error] or "unknown") or nil,
                                               buf:reported_len() - hlen)
    else
        pinfo.cols.info = "TLP without a byte in the capture"
    end
    return buf:len()
end

end
