-- SPDX-License-Identifier: Apache-2.0
-- One TLP of the PCI Express base specification 5.0 (non-flit), by the names that the specification has for its fields.
return function(farbus)

local tlp = Proto("tlp", "PCI Express TLP")
farbus.tlp = tlp

local fmts = {[0] = "3 DW header, no data", "4 DW header, no data", "3 DW header, with data", "4 DW header, with data",
              "TLP Prefix", "reserved", "reserved", "reserved"}
local statuses = {[0] = "SC", "UR", "CRS", "reserved 3", "CA", "reserved 5", "reserved 6", "reserved 7"}
local routes = {[0] = "to root", "by address", "by ID", "broadcast", "local", "gather", "reserved 6", "reserved 7"}
local messages = {
    [0x00] = "Unlock", [0x01] = "Invalidate_Request", [0x02] = "Invalidate_Completion", [0x04] = "Page_Request",
    [0x05] = "PRG_Response", [0x10] = "LTR", [0x12] = "OBFF", [0x14] = "PM_Active_State_Nak", [0x18] = "PM_PME",
    [0x19] = "PME_Turn_Off", [0x1b] = "PME_TO_Ack", [0x20] = "Assert_INTA", [0x21] = "Assert_INTB",
    [0x22] = "Assert_INTC", [0x23] = "Assert_INTD", [0x24] = "Deassert_INTA", [0x25] = "Deassert_INTB",
    [0x26] = "Deassert_INTC", [0x27] = "Deassert_INTD", [0x30] = "ERR_COR", [0x31] = "ERR_NONFATAL", [0x33] = "ERR_FATAL",
    [0x50] = "Set_Slot_Power_Limit", [0x52] = "PTM_Request", [0x53] = "PTM_Response", [0x7e] = "Vendor_Type0",
    [0x7f] = "Vendor_Type1",
}
local prefixes = {[0x80] = "MR-IOV", [0x8e] = "VendPrefixL0", [0x8f] = "VendPrefixL1", [0x90] = "Extended TPH",
                  [0x91] = "PASID", [0x9e] = "VendPrefixE0", [0x9f] = "VendPrefixE1"}

local f = {
    fmt = ProtoField.uint8("tlp.fmt", "Fmt", base.DEC, fmts, 0xe0),
    code = ProtoField.uint8("tlp.type_code", "Type", base.HEX, nil, 0x1f),
    type = ProtoField.string("tlp.type", "TLP Type"),
    tc = ProtoField.uint8("tlp.tc", "TC", base.DEC, nil, 0x70),
    ln = ProtoField.uint8("tlp.ln", "LN", base.DEC, nil, 0x02),
    th = ProtoField.uint8("tlp.th", "TH", base.DEC, nil, 0x01),
    td = ProtoField.uint8("tlp.td", "TD", base.DEC, nil, 0x80),
    ep = ProtoField.uint8("tlp.ep", "EP", base.DEC, nil, 0x40),
    attr = ProtoField.uint8("tlp.attr", "Attr", base.HEX),
    ido = ProtoField.bool("tlp.attr.ido", "ID-Based Ordering"),
    ro = ProtoField.bool("tlp.attr.ro", "Relaxed Ordering"),
    ns = ProtoField.bool("tlp.attr.ns", "No Snoop"),
    at = ProtoField.uint8("tlp.at", "AT", base.DEC, {[0] = "untranslated", "translation request", "translated", "reserved"},
                          0x0c),
    length = ProtoField.uint16("tlp.length", "Length (DW)"),
    requester = ProtoField.string("tlp.requester", "Requester ID"),
    completer = ProtoField.string("tlp.completer", "Completer ID"),
    tag = ProtoField.uint16("tlp.tag", "Tag"),
    last_be = ProtoField.uint8("tlp.last_be", "Last DW BE", base.HEX, nil, 0xf0),
    first_be = ProtoField.uint8("tlp.first_be", "First DW BE", base.HEX, nil, 0x0f),
    addr = ProtoField.uint64("tlp.addr", "Address", base.HEX),
    ph = ProtoField.uint8("tlp.ph", "PH", base.DEC, nil, 0x03),
    st = ProtoField.uint8("tlp.st", "ST"),
    nw = ProtoField.uint8("tlp.nw", "NW", base.DEC, nil, 0x01),
    reg = ProtoField.uint16("tlp.reg", "Register", base.HEX),
    ext_reg = ProtoField.uint8("tlp.ext_reg_number", "Ext. Register Number", base.DEC, nil, 0x0f),
    reg_number = ProtoField.uint8("tlp.reg_number", "Register Number", base.DEC, nil, 0xfc),
    status = ProtoField.uint8("tlp.status", "Completion Status", base.DEC, statuses, 0xe0),
    bcm = ProtoField.uint8("tlp.bcm", "BCM", base.DEC, nil, 0x10),
    byte_count = ProtoField.uint16("tlp.byte_count", "Byte Count"),
    lower_addr = ProtoField.uint8("tlp.lower_addr", "Lower Address", base.HEX, nil, 0x7f),
    route = ProtoField.uint8("tlp.msg.route", "Message Routing", base.DEC, routes, 0x07),
    msg = ProtoField.uint8("tlp.msg.code", "Message Code", base.HEX, messages),
    msg_bytes = ProtoField.uint64("tlp.msg.header", "Message Header Bytes 8-15", base.HEX),
    vendor = ProtoField.uint16("tlp.msg.vendor", "Vendor ID", base.HEX),
    no_snoop = ProtoField.uint16("tlp.msg.no_snoop_latency", "No-Snoop Latency", base.HEX),
    snoop = ProtoField.uint16("tlp.msg.snoop_latency", "Snoop Latency", base.HEX),
    data = ProtoField.bytes("tlp.data", "Data"),
    ecrc = ProtoField.uint32("tlp.ecrc", "TLP Digest (ECRC)", base.HEX),
    prefix = ProtoField.uint32("tlp.prefix", "TLP Prefix", base.HEX),
    pasid = ProtoField.uint32("tlp.pasid", "PASID", base.HEX),
    pmr = ProtoField.uint8("tlp.pasid.pmr", "Privileged Mode Requested", base.DEC, nil, 0x20),
    exec = ProtoField.uint8("tlp.pasid.exec", "Execute Requested", base.DEC, nil, 0x10),
    malformed = ProtoField.string("tlp.malformed", "Malformed"),
    response_in = ProtoField.framenum("tlp.response_in", "Completion in frame", base.NONE, frametype.RESPONSE),
    response_to = ProtoField.framenum("tlp.response_to", "Completion of the request in frame", base.NONE, frametype.REQUEST),
    latency = ProtoField.relative_time("tlp.latency", "Time from the request"),
    read = ProtoField.bytes("tlp.read.data", "Read data"),
    read_len = ProtoField.uint32("tlp.read.length", "Read length"),
    read_cpls = ProtoField.uint32("tlp.read.completions", "Completions of the read"),
    read_addr = ProtoField.uint64("tlp.read.addr", "Address read", base.HEX),
}
local list = {}
for _, field in pairs(f) do list[#list + 1] = field end
tlp.fields = list

local e = {
    malformed = ProtoExpert.new("tlp.expert.malformed", "Malformed TLP", expert.group.MALFORMED, expert.severity.ERROR),
    status = ProtoExpert.new("tlp.expert.status", "Completion that is not successful", expert.group.RESPONSE_CODE,
                             expert.severity.WARN),
    poisoned = ProtoExpert.new("tlp.expert.poisoned", "Poisoned TLP", expert.group.PROTOCOL, expert.severity.WARN),
    unexpected = ProtoExpert.new("tlp.expert.unexpected", "Completion without a request in this capture",
                                 expert.group.SEQUENCE, expert.severity.NOTE),
    reused = ProtoExpert.new("tlp.expert.tag_reused", "Tag used again before its completion was seen", expert.group.SEQUENCE,
                             expert.severity.NOTE),
}
tlp.experts = {e.malformed, e.status, e.poisoned, e.unexpected, e.reused}

-- Byte 0 to {name, kind, carries data}. Kinds: r(ead) w(rite) a(tomic) i(o) c(fg) m(essage) p (completion)
local types = {}
for _, t in ipairs({
    {0x00, "MRd32", "r"}, {0x20, "MRd64", "r"}, {0x01, "MRdLk32", "r"}, {0x21, "MRdLk64", "r"}, {0x40, "MWr32", "w"},
    {0x60, "MWr64", "w"}, {0x02, "IORd", "i"}, {0x42, "IOWr", "i"}, {0x04, "CfgRd0", "c"}, {0x44, "CfgWr0", "c"},
    {0x05, "CfgRd1", "c"}, {0x45, "CfgWr1", "c"}, {0x0a, "Cpl", "p"}, {0x4a, "CplD", "p"}, {0x0b, "CplLk", "p"},
    {0x4b, "CplDLk", "p"}, {0x4c, "FetchAdd32", "a"}, {0x6c, "FetchAdd64", "a"}, {0x4d, "Swap32", "a"},
    {0x6d, "Swap64", "a"}, {0x4e, "CAS32", "a"}, {0x6e, "CAS64", "a"}}) do
    types[t[1]] = {name = t[2], kind = t[3], data = t[1] >= 0x40, dw4 = t[1] % 0x40 >= 0x20}
end
for route = 0, 7 do
    types[0x30 + route] = {name = "Msg", kind = "m", data = false, dw4 = true}
    types[0x70 + route] = {name = "MsgD", kind = "m", data = true, dw4 = true}
end
farbus.types = types

-- What a TLP that begins with these bytes is to be long, and its class (0 posted, 1 non-posted, 2 completion); nil: no TLP
-- begins so. `s` is a string, `at` counts from 1.
function farbus.tlp_size(s, at)
    local size = 0
    for _ = 1, 9 do
        local b0, b1, b2, b3 = s:byte(at + size, at + size + 3)
        if not b3 then return nil end
        if b0 < 0x80 or b0 >= 0xa0 then
            local t = types[b0]
            if not t then return nil end
            size = size + (t.dw4 and 16 or 12)
            local length = (b2 % 4) * 256 + b3
            if t.data then size = size + 4 * (length == 0 and 1024 or length) end
            if b2 >= 0x80 then size = size + 4 end
            local class = (t.kind == "w" or t.kind == "m") and 0 or t.kind == "p" and 2 or 1
            return size, class
        end
        size = size + 4
    end
    return nil
end

-- Text up to a NUL or the end, whatever it holds.
function farbus.text(range)
    local s = range:raw():match("^[^\0]*"):gsub("[^ -~]", "?")
    return s
end

local function id_text(range)
    return string.format("%02x:%02x.%d", range:bitfield(0, 8), range:bitfield(8, 5), range:bitfield(13, 3))
end

-- 2.2.5
local function be_legal(first, last, length, addr_low)
    if length == 1 then return last == 0 end
    if length == 2 and addr_low % 8 < 4 then return first ~= 0 and last ~= 0 end
    local to_top = {[8] = true, [12] = true, [14] = true, [15] = true}
    local from_bottom = {[1] = true, [3] = true, [7] = true, [15] = true}
    return to_top[first] == true and from_bottom[last] == true
end

-- Bytes from the first enabled one to the last enabled one, and the offset of the first in its DW.
local function span(first, last, length)
    local skip, cut = 0, 0
    if length == 1 and first == 0 then return 0, 0 end
    while skip < 3 and math.floor(first / 2 ^ skip) % 2 == 0 do skip = skip + 1 end
    local top = length == 1 and first or last
    while cut < 3 and math.floor(top / 2 ^ (3 - cut)) % 2 == 0 do cut = cut + 1 end
    return 4 * length - skip - cut, skip
end

-- ---- Requests and completions -------------------------------------------------------------------------------------

local state
local function reset()
    -- open: requests by key. facts: what is known of each TLP, by frame and its place in there.
    state = {open = {}, facts = {}}
    if farbus.reset_statistics then farbus.reset_statistics() end
end
reset()

-- The first time that a TLP is seen: finds its request, or waits for its completion.
local function link(t, pinfo, flow, fact, payload)
    local now = pinfo.rel_ts -- a double: of absolute time it would have only 240 ns
    if t.kind == "p" then
        local key = flow.request .. t.requester .. "/" .. t.tag
        local request = state.open[key]
        if not request then
            fact.unexpected = true
            return
        end
        fact.response_to = request.frame
        fact.latency = now - request.time
        fact.request = request.fact
        request.fact.response_in = pinfo.number
        request.completions = request.completions + 1
        local carried = t.data and 4 * t.length or 0
        local left = t.byte_count - carried + (carried > 0 and t.lower_addr % 4 or 0)
        if request.kind == "r" and payload then
            local skip = t.lower_addr % 4
            request.data = request.data .. payload:sub(skip + 1, skip + math.min(t.byte_count, carried - skip))
        end
        if payload == nil and t.data then request.cut = true end
        if t.status ~= 0 or request.kind ~= "r" or left <= 0 then
            state.open[key] = nil
            request.fact.latency = fact.latency
            farbus.count_latency(request.name, fact.latency)
            if request.kind == "r" and t.status == 0 and not request.cut then
                fact.read = {data = request.data, completions = request.completions, addr = request.addr}
            end
        end
    elseif t.kind ~= "w" and t.kind ~= "m" then
        local key = flow.own .. t.requester .. "/" .. t.tag
        if state.open[key] then state.open[key].fact.reused = true end
        state.open[key] = {frame = pinfo.number, time = now, fact = fact, kind = t.kind, name = t.name, data = "",
                           completions = 0, addr = t.addr}
    end
end

-- ---- The dissection -----------------------------------------------------------------------------------------------

local function dissect_prefixes(buf, tree)
    local at, unknown = 0, false
    while at + 4 <= buf:len() and buf(at, 1):bitfield(0, 3) == 4 do
        local b = buf(at, 1):uint()
        local sub = tree:add(f.prefix, buf(at, 4))
        sub:append_text(string.format(", %s, %s", b >= 0x90 and "end-end" or "local", prefixes[b] or "unknown"))
        unknown = unknown or not prefixes[b]
        if b == 0x91 then
            sub:add(f.pmr, buf(at + 1, 1))
            sub:add(f.exec, buf(at + 1, 1))
            sub:add(f.pasid, buf(at + 1, 3), buf(at + 1, 3):bitfield(4, 20))
        end
        at = at + 4
    end
    return at, unknown
end

local function dissect_dw0(h, tree, t)
    tree:add(f.fmt, h(0, 1))
    tree:add(f.code, h(0, 1))
    tree:add(f.type, h(0, 1), t.name)
    tree:add(f.tc, h(1, 1))
    if t.kind == "w" or t.name:sub(1, 4) == "MRd3" or t.name:sub(1, 4) == "MRd6" or t.name == "CplD" then tree:add(f.ln, h(1, 1)) end
    tree:add(f.th, h(1, 1))
    tree:add(f.td, h(2, 1))
    tree:add(f.ep, h(2, 1))
    local ido, ro, ns = h(1, 1):bitfield(5, 1), h(2, 1):bitfield(2, 1), h(2, 1):bitfield(3, 1)
    local attr = tree:add(f.attr, h(1, 2), 4 * ido + 2 * ro + ns)
    attr:add(f.ido, h(1, 1), ido == 1)
    attr:add(f.ro, h(2, 1), ro == 1)
    attr:add(f.ns, h(2, 1), ns == 1)
    tree:add(f.at, h(2, 1))
    t.tc, t.attr, t.at, t.th = h(1, 1):bitfield(1, 3), 4 * ido + 2 * ro + ns, h(2, 1):bitfield(4, 2), h(1, 1):bitfield(7, 1)
    t.td, t.ep = h(2, 1):bitfield(0, 1), h(2, 1):bitfield(1, 1)
    t.t98 = 512 * h(1, 1):bitfield(0, 1) + 256 * h(1, 1):bitfield(4, 1)
    t.length = h(2, 2):bitfield(6, 10)
    if t.length == 0 then t.length = 1024 end
    -- Reserved in completions and messages without data.
    t.has_length = t.data or (t.kind ~= "p" and t.kind ~= "m")
    if t.has_length then tree:add(f.length, h(2, 2), t.length) end
end

local function add_tag(h, tree, t, at)
    t.tag = h(at, 1):uint() + (t.kind == "w" and 0 or t.t98)
    tree:add(f.tag, h(at, 1), t.tag)
end

local function add_be(h, tree, t)
    tree:add(f.last_be, h(7, 1))
    tree:add(f.first_be, h(7, 1))
    t.last_be, t.first_be = h(7, 1):bitfield(0, 4), h(7, 1):bitfield(4, 4)
end

local function add_requester(h, tree, t, at)
    t.requester = id_text(h(at, 2))
    tree:add(f.requester, h(at, 2), t.requester)
end

local kinds = {}

local function memory(h, tree, t)
    add_requester(h, tree, t, 4)
    t.tag = 0
    if t.th == 1 and t.kind == "w" then
        tree:add(f.st, h(6, 1))
    else
        add_tag(h, tree, t, 6)
    end
    if t.th == 1 and t.kind ~= "w" then
        tree:add(f.st, h(7, 1))
        t.first_be, t.last_be = 15, t.length > 1 and 15 or 0
    elseif t.kind ~= "a" then
        add_be(h, tree, t)
    end
    local at = t.dw4 and 12 or 8
    local low = h(at, 4):bitfield(0, 30) * 4
    t.addr = t.dw4 and UInt64.new(low, h(8, 4):uint()) or UInt64.new(low, 0)
    tree:add(f.addr, h(8, t.dw4 and 8 or 4), t.addr)
    if t.th == 1 then
        tree:add(f.ph, h(at + 3, 1))
    elseif t.kind == "r" and t.at == 1 then
        tree:add(f.nw, h(at + 3, 1))
    end
    t.info = string.format("0x%s %d DW", t.dw4 and t.addr:tohex(16) or t.addr:tohex(8), t.length)
    if t.dw4 and h(8, 4):uint() == 0 then return "4DW header below 4 GiB" end
    if t.kind == "a" then
        local operand = t.name:sub(1, 3) == "CAS" and t.length * 2 or t.length * 4
        local sizes = t.name:sub(1, 3) == "CAS" and {[2] = 1, [4] = 1, [8] = 1} or {[1] = 1, [2] = 1}
        if not sizes[t.length] or low % operand ~= 0 then return "AtomicOp operand size or alignment" end
        return nil
    end
    if not be_legal(t.first_be, t.last_be, t.length, low) then return "byte enables" end
    if low % 4096 + 4 * t.length > 4096 then return "crosses 4 KiB" end
end
kinds.r, kinds.w, kinds.a = memory, memory, memory

local function fixed(t)
    if t.length ~= 1 or t.tc ~= 0 or t.attr % 4 ~= 0 or t.at ~= 0 or t.last_be ~= 0 then
        return "Cfg or I/O with Length, TC, Attr, AT or last BE"
    end
end

function kinds.c(h, tree, t)
    add_requester(h, tree, t, 4)
    add_tag(h, tree, t, 6)
    add_be(h, tree, t)
    t.completer = id_text(h(8, 2))
    tree:add(f.completer, h(8, 2), t.completer)
    tree:add(f.ext_reg, h(10, 1))
    tree:add(f.reg_number, h(11, 1))
    t.reg = h(10, 2):bitfield(4, 10) * 4
    tree:add(f.reg, h(10, 2), t.reg)
    t.info = string.format("of %s reg 0x%x", t.completer, t.reg)
    return fixed(t)
end

function kinds.i(h, tree, t)
    add_requester(h, tree, t, 4)
    add_tag(h, tree, t, 6)
    add_be(h, tree, t)
    t.addr = UInt64.new(h(8, 4):bitfield(0, 30) * 4, 0)
    tree:add(f.addr, h(8, 4), t.addr)
    t.info = "0x" .. t.addr:tohex(8)
    return fixed(t)
end

function kinds.p(h, tree, t)
    t.completer = id_text(h(4, 2))
    tree:add(f.completer, h(4, 2), t.completer)
    t.status = h(6, 1):bitfield(0, 3)
    local item = tree:add(f.status, h(6, 1))
    if t.status ~= 0 then item:add_proto_expert_info(e.status, "Completion Status " .. statuses[t.status]) end
    tree:add(f.bcm, h(6, 1))
    t.byte_count = h(6, 2):bitfield(4, 12)
    if t.byte_count == 0 then t.byte_count = 4096 end
    tree:add(f.byte_count, h(6, 2), t.byte_count)
    add_requester(h, tree, t, 8)
    add_tag(h, tree, t, 10)
    t.lower_addr = h(11, 1):bitfield(1, 7)
    tree:add(f.lower_addr, h(11, 1))
    t.info = string.format("from %s %s%s count %d", t.completer, statuses[t.status],
                           t.data and string.format(" %d DW", t.length) or "", t.byte_count)
    if t.data and t.length > math.floor((t.lower_addr % 4 + t.byte_count + 3) / 4) then
        return "completion counts contradict"
    end
end

function kinds.m(h, tree, t)
    local route, code = h(0, 1):bitfield(5, 3), h(7, 1):uint()
    tree:add(f.route, h(0, 1))
    add_requester(h, tree, t, 4)
    t.tag = h(6, 1):uint()
    tree:add(f.tag, h(6, 1), t.tag)
    tree:add(f.msg, h(7, 1))
    t.info = string.format("%s %s", messages[code] or string.format("code 0x%02x", code), routes[route])
    if route == 1 then
        tree:add(f.addr, h(8, 8), UInt64.new(h(12, 4):bitfield(0, 30) * 4, h(8, 4):uint()))
        return nil
    end
    if route == 2 then
        t.completer = id_text(h(8, 2))
        tree:add(f.completer, h(8, 2), t.completer)
    end
    if code == 0x7e or code == 0x7f then tree:add(f.vendor, h(10, 2)) end
    if code == 0x10 then
        tree:add(f.no_snoop, h(12, 2))
        tree:add(f.snoop, h(14, 2))
    else
        tree:add(f.msg_bytes, h(8, 8))
    end
    if route > 5 then return "message routing, TC or payload" end
end

-- Header, payload and digest. Returns what is wrong, and the payload as a string.
local function dissect_rest(h, tree, t, whole)
    local header = t.dw4 and 16 or 12
    local payload
    if h:len() < header then return "ends inside its header" end
    local wrong = kinds[t.kind](h, tree, t)
    local at, need = header, header + (t.data and 4 * t.length or 0) + 4 * t.td
    if t.data then
        local have = math.min(4 * t.length, h:len() - header)
        if have > 0 then
            tree:add(f.data, h(header, have))
            payload = h:raw(header, have)
        end
        -- One of farbus' own; not if the capture has cut it.
        if t.kind == "m" and h(7, 1):uint() == 0x7f and have == 4 * t.length then
            local text = farbus.dissect_message(h(8, 8), h(header, have):tvb(), tree)
            t.info = text and t.info .. ", " .. text or t.info
        end
        at = header + have
    end
    if t.td == 1 and h:len() >= at + 4 then tree:add(f.ecrc, h(at, 4)) end
    if whole ~= need then
        return whole < need and "payload shorter than Length" or "bytes left over", payload
    end
    return wrong, payload
end

local function show_facts(tree, fact)
    local function generated(item) item:set_generated() return item end
    if fact.response_in then generated(tree:add(f.response_in, fact.response_in)) end
    if fact.response_to then generated(tree:add(f.response_to, fact.response_to)) end
    if fact.latency then
        local seconds = math.floor(fact.latency)
        generated(tree:add(f.latency, NSTime.new(seconds, math.floor((fact.latency - seconds) * 1e9 + 0.5))))
    end
    if fact.unexpected then tree:add_proto_expert_info(e.unexpected) end
    if fact.reused then tree:add_proto_expert_info(e.reused) end
    if fact.read then
        local bytes = ByteArray.new(fact.read.data, true):tvb("Reassembled read")
        local sub = generated(tree:add(f.read, bytes()))
        generated(sub:add(f.read_addr, fact.read.addr))
        generated(sub:add(f.read_len, #fact.read.data))
        generated(sub:add(f.read_cpls, fact.read.completions))
    end
end

--[[
Dissects the TLP in `buf`. `flow` says where it belongs: own, a text that requests of this direction have in common, and
request, the one of the direction in which requests for these completions went. `index` counts the TLPs of a frame. `error` is what
the capturing end found wrong. `whole` is its length where the capture has cut it, else nil.
Returns its name for the Info column.
]]
function farbus.dissect_tlp(buf, pinfo, root, flow, index, error, whole)
    local key = pinfo.number .. "/" .. index
    local tree = root:add(tlp, buf())
    local at, bad_prefix = dissect_prefixes(buf, tree)
    local known = at + 4 <= buf:len() and types[buf(at, 1):uint()]
    local cut = whole and whole > buf:len()
    whole = (whole or buf:len()) - at
    local wrong, payload, text
    local t = {}
    if known and at < buf:len() then
        for k, v in pairs(known) do t[k] = v end
        local h = buf(at):tvb()
        dissect_dw0(h, tree, t)
        wrong, payload = dissect_rest(h, tree, t, whole)
        if cut and buf:len() - at >= (t.dw4 and 16 or 12) then payload = nil end
        if bad_prefix and not wrong then wrong = "prefix unknown, misplaced or too many" end
    else
        wrong = buf:len() - at < 4 and "ends inside its header" or "reserved type"
        t.name = "TLP"
        if buf:len() - at >= 4 then
            tree:add(f.fmt, buf(at, 1))
            tree:add(f.code, buf(at, 1))
        end
    end
    wrong = error or wrong
    text = t.name .. (t.requester and string.format(" %s tag %d %s", t.requester, t.tag, t.info) or "")
    local fact = state.facts[key]
    if not fact then
        fact = {}
        state.facts[key] = fact
        farbus.count_tlp(t.name, whole, wrong)
        if not wrong then link(t, pinfo, flow, fact, payload) end
    end
    tree:append_text(", " .. text)
    if t.ep == 1 then tree:add_proto_expert_info(e.poisoned) end
    show_facts(tree, fact)
    if wrong then
        tree:add(f.malformed, wrong):set_generated()
        tree:add_proto_expert_info(e.malformed, "Malformed TLP: " .. wrong)
        text = text .. " [malformed: " .. wrong .. "]"
    end
    return text
end

-- For "decode as" and other dissectors: a TLP by itself.
function tlp.dissector(buf, pinfo, root)
    pinfo.cols.protocol = "TLP"
    pinfo.cols.info = farbus.dissect_tlp(buf, pinfo, root, {own = "", request = ""}, 1)
    return buf:len()
end

function tlp.init() reset() end

end
