-- SPDX-License-Identifier: Apache-2.0
-- SoftPCIe/NetTLP: one TLP a UDP datagram, behind a sequence number and a time stamp. The port says what it is: 0x3000 + tag for
-- requests by software and their completions, 0x4000 + (tag & 15) for requests by the host and theirs.
return function(farbus)

local softpcie = Proto("softpcie", "SoftPCIe/NetTLP")
local MESSAGE, CONFIG_OLD, CONFIG, REGISTER = 0x2fff, 0x4001, 0x5001, 0x5002

local f = {
    sequence = ProtoField.uint16("softpcie.sequence", "Sequence"),
    timestamp = ProtoField.uint32("softpcie.timestamp", "Timestamp"),
    command = ProtoField.uint8("softpcie.config.command", "Command", base.DEC, {[0] = "read", "write"}, 0xc0),
    mask = ProtoField.uint8("softpcie.config.mask", "Byte mask", base.HEX, nil, 0x3c),
    reg = ProtoField.uint16("softpcie.config.reg", "Register", base.HEX),
    data = ProtoField.uint32("softpcie.data", "Data", base.HEX),
    opcode = ProtoField.uint8("softpcie.register.opcode", "Opcode", base.HEX,
                              {[0x10] = "read", [0x11] = "write", [0x20] = "magic", [0x21] = "timestamp", [0x22] = "reset"}),
    index = ProtoField.uint8("softpcie.register.index", "Register", base.HEX),
    request = ProtoField.uint32("softpcie.message.request", "Request", base.DEC,
                                {"BAR4 address", "device ID", "MSI-X table"}),
    answer = ProtoField.bytes("softpcie.message.answer", "Answer"),
}
local list = {}
for _, field in pairs(f) do list[#list + 1] = field end
softpcie.fields = list

local function is_tlp_port(port) return (port >= 0x3000 and port <= 0x30ff) or (port >= 0x4000 and port <= 0x400f) end

local function access(buf, pinfo, tree, port)
    if port == REGISTER then
        tree:add(f.opcode, buf(0, 1))
        tree:add(f.index, buf(1, 1))
        pinfo.cols.info = string.format("adapter register 0x%02x", buf(1, 1):uint())
    else
        local reg = buf(0, 2):bitfield(6, 10) * 4
        tree:add(f.command, buf(0, 1))
        tree:add(f.mask, buf(0, 1))
        tree:add(f.reg, buf(0, 2), reg)
        pinfo.cols.info = string.format("configuration %s 0x%03x", buf(0, 1):bitfield(0, 2) == 0 and "read" or "write", reg)
    end
    tree:add(f.data, buf(2, 4))
end

local function message(buf, pinfo, tree)
    if pinfo.dst_port == MESSAGE and buf:len() >= 4 then
        tree:add_le(f.request, buf(0, 4))
        pinfo.cols.info = "message request"
    else
        tree:add(f.answer, buf())
        pinfo.cols.info = "message answer"
    end
end

function softpcie.dissector(buf, pinfo, root)
    local port = pinfo.dst_port
    if farbus.is_link(buf) then return farbus.link_dissector(buf, pinfo, root) end
    if (port == CONFIG or port == REGISTER or (port == CONFIG_OLD and buf:reported_len() == 6)) and buf:len() >= 6 then
        pinfo.cols.protocol = "SoftPCIe"
        access(buf, pinfo, root:add(softpcie, buf()), port)
        return buf:len()
    end
    if port == MESSAGE or pinfo.src_port == MESSAGE then
        pinfo.cols.protocol = "SoftPCIe"
        message(buf, pinfo, root:add(softpcie, buf()))
        return buf:len()
    end
    -- The rule has source and destination port the same; others on these ports are left to other dissectors.
    if not is_tlp_port(port) or pinfo.src_port ~= port or buf:len() < 7 then return 0 end
    pinfo.cols.protocol = "SoftPCIe"
    local tree = root:add(softpcie, buf(0, 6))
    tree:add(f.sequence, buf(0, 2))
    tree:add(f.timestamp, buf(2, 4))
    local function way(a, b) return tostring(a) .. ">" .. tostring(b) .. "/" .. port .. "/" end
    local flow = {own = way(pinfo.src, pinfo.dst), request = way(pinfo.dst, pinfo.src)}
    pinfo.cols.info = farbus.dissect_tlp(buf(6):tvb(), pinfo, root, flow, 1, nil, buf:reported_len() - 6)
    return buf:len()
end

local ports = DissectorTable.get("udp.port")
ports:add("12288-12543", softpcie)
ports:add("16384-16399", softpcie)
ports:add("20481-20482", softpcie)
ports:add(MESSAGE, softpcie)

end
