-- SPDX-License-Identifier: Apache-2.0
--[[
The link's datagrams (docs/protocol.md), and the TLPs in them.

A session's TLPs are a stream of records that is cut into datagrams anywhere. It is put together on the first pass: where the
stream is known from its beginning (HELLO and WELCOME name it) it is simply followed; where the capture begins later or has a
gap, the next place is looked for from which whole records follow each other. What each frame completed is kept for later
passes. CRCs are not verified: "farbus decode" does that.
]]
return function(farbus)

local link = Proto("fblink", "Farbus link")

local kinds = {"HELLO", "WELCOME", "REFUSE", "DATA", "CLOSE", "LIST", "LISTING"}
local HELLO, WELCOME, REFUSE, DATA, CLOSE, LIST, LISTING = 1, 2, 3, 4, 5, 6, 7
local reasons = {"NORMAL", "HOLD", "VERSION", "NO_FUNCTION", "IN_USE", "GROUP", "UNKNOWN", "PROTOCOL", "SUPERSEDED", "REMOVED",
                 "OVERFLOW", "NO_ANSWER", "DENIED"}
local WAITING_MAX = 4 * 1024 * 1024

local f = {
    layout = ProtoField.uint8("fblink.layout", "Layout"),
    kind = ProtoField.uint8("fblink.kind", "Kind", base.DEC, kinds),
    suite = ProtoField.uint8("fblink.suite", "Suite"),
    ping = ProtoField.bool("fblink.flags.ping", "PING", 8, nil, 0x01),
    echo_flag = ProtoField.bool("fblink.flags.echo", "ECHO", 8, nil, 0x02),
    time_flag = ProtoField.bool("fblink.flags.time", "TIME", 8, nil, 0x04),
    clock = ProtoField.uint64("fblink.clock", "Clock of the sender (ns since 1970)"),
    hlen = ProtoField.uint16("fblink.hlen", "Header length"),
    session = ProtoField.uint64("fblink.session", "Session of the receiver", base.HEX),
    from = ProtoField.uint64("fblink.from", "Session of the sender", base.HEX),
    number = ProtoField.uint32("fblink.number", "Number"),
    crc = ProtoField.uint32("fblink.crc", "CRC32C (not verified)", base.HEX),
    version_min = ProtoField.uint16("fblink.version_min", "Lowest version"),
    version_max = ProtoField.uint16("fblink.version_max", "Highest version"),
    suites = ProtoField.uint16("fblink.suites", "Suites", base.HEX),
    hold = ProtoField.uint32("fblink.hold", "Hold time (ms)"),
    node = ProtoField.bytes("fblink.node", "Node"),
    incarnation = ProtoField.uint64("fblink.incarnation", "Incarnation"),
    pos = ProtoField.uint64("fblink.pos", "Position"),
    group = ProtoField.uint32("fblink.group", "Group"),
    window = ProtoField.uint32("fblink.window", "Window"),
    posted = ProtoField.uint32("fblink.posted", "Posted credit"),
    np = ProtoField.uint32("fblink.np", "Non-posted credit"),
    mtu = ProtoField.uint32("fblink.mtu", "Largest datagram"),
    func = ProtoField.string("fblink.function", "Function"),
    ack = ProtoField.uint64("fblink.ack", "Acknowledged up to"),
    echo = ProtoField.uint32("fblink.echo", "Echo"),
    echo_delay = ProtoField.uint32("fblink.echo_delay", "Echo delay (ns)"),
    sack = ProtoField.string("fblink.sack", "Arrived beyond a gap"),
    reason = ProtoField.uint16("fblink.reason", "Reason", base.DEC, reasons),
    text = ProtoField.string("fblink.text", "Text"),
    nonce = ProtoField.uint32("fblink.nonce", "Nonce", base.HEX),
    first = ProtoField.uint32("fblink.list.first", "First entry"),
    total = ProtoField.uint32("fblink.list.total", "Entries in all"),
    n = ProtoField.uint16("fblink.list.n", "Entries here"),
    entry = ProtoField.string("fblink.list.entry", "Entry"),
    record_class = ProtoField.uint8("fblink.record.class", "Class", base.DEC, {[0] = "posted", "non-posted", "completion"}),
    record_len = ProtoField.uint16("fblink.record.length", "TLP length"),
    segment = ProtoField.framenum("fblink.segment_in", "Ends in frame"),
    begun = ProtoField.framenum("fblink.segment_from", "Began in frame"),
    retransmitted = ProtoField.bool("fblink.retransmission", "Holds nothing new"),
    passed = ProtoField.uint32("fblink.passed_over", "Bytes of the stream passed over"),
}
local list = {}
for _, field in pairs(f) do list[#list + 1] = field end
link.fields = list

local e = {
    header = ProtoExpert.new("fblink.expert.header", "Datagram that is malformed", expert.group.MALFORMED, expert.severity.ERROR),
    passed = ProtoExpert.new("fblink.expert.passed_over", "Bytes of the stream that cannot be made out, or were not captured",
                             expert.group.REASSEMBLE, expert.severity.WARN),
    again = ProtoExpert.new("fblink.expert.retransmission", "Retransmission", expert.group.SEQUENCE, expert.severity.NOTE),
}
link.experts = {e.header, e.passed, e.again}

-- sides: what one end of a session sends, by its session ID. results: what a datagram holds, by frame and place.
local sides, results = {}, {}

function link.init() sides, results = {}, {} end

local function side_of(id)
    if not sides[id] then sides[id] = {part = "", part_frame = nil, pieces = {}, waiting = 0} end
    return sides[id]
end

-- ---- The stream -----------------------------------------------------------------------------------------------------

local function record_len(s, at)
    local class, zero, high, low = s:byte(at, at + 3)
    local len = high * 256 + low
    if class > 2 or zero ~= 0 or len == 0 or len > 4352 then return nil end
    return len, class
end

local function padded(len) return 4 + len + (-len) % 4 end

-- Do whole records follow from here, one at least, whose TLPs are as long, and of the class, that they say?
local function plausible(s, at)
    local good = 0
    while at + 3 <= #s do
        local len, class = record_len(s, at)
        if not len then return false end
        if at + padded(len) - 1 > #s then break end
        local size, should = farbus.tlp_size(s, at + 4)
        if size ~= len or should ~= class then return false end
        good = good + 1
        at = at + padded(len)
    end
    return good > 0
end

--[[
The next bytes in order, `s`, of which the first stands at `offset` in the datagram, or that waited since an earlier frame
(offset nil). What is complete goes into `out`.
]]
local function consume(side, s, offset, frame, out)
    side.next = side.next + #s
    local at = 1
    if not side.synced then
        while at <= #s and not plausible(s, at) do at = at + 4 end
        if at > 1 then out[#out + 1] = {passed = math.min(at - 1, #s)} end
        if at > #s then return end
        side.synced = true
    end
    while at <= #s do
        local have = #side.part
        local want = 4
        if have >= 4 then
            local len = record_len(side.part, 1)
            if not len then
                out[#out + 1] = {passed = have + #s - at + 1}
                side.synced, side.part = false, ""
                return
            end
            want = padded(len)
        elseif have == 0 and at + 3 <= #s then
            -- In one piece: shown where it stands.
            local len, class = record_len(s, at)
            if len and at + padded(len) - 1 <= #s then
                out[#out + 1] = {class = class, len = len, offset = offset and offset + at - 1, bytes = s:sub(at + 4, at + 3 + len)}
                at = at + padded(len)
                goto continue
            end
        end
        do
            local n = math.min(want - have, #s - at + 1)
            if have == 0 then
                side.part_frame = frame
                side.part_note = {begins = true, offset = offset and offset + at - 1}
                out[#out + 1] = side.part_note
            end
            side.part = side.part .. s:sub(at, at + n - 1)
            at = at + n
            if #side.part > 4 and #side.part == want then
                local len, class = record_len(side.part, 1)
                out[#out + 1] = {class = class, len = len, bytes = side.part:sub(5, 4 + len), from = side.part_frame}
                side.part_note.ends = frame
                side.part = ""
            end
        end
        ::continue::
    end
end

local function first_piece(side)
    local best
    for i, piece in ipairs(side.pieces) do
        if not best or piece.pos < side.pieces[best].pos then best = i end
    end
    return best
end

-- What waited, and fits now; with `gap`, the next of it even if it does not.
local function drain(side, frame, out, gap)
    while true do
        local i = first_piece(side)
        if not i then return end
        local piece = side.pieces[i]
        if piece.pos > side.next then
            if not gap then return end
            out[#out + 1] = {passed = (piece.pos - side.next):tonumber()}
            side.next, side.synced, side.part, gap = piece.pos, false, "", false
        end
        table.remove(side.pieces, i)
        side.waiting = side.waiting - #piece.bytes
        local old = (side.next - piece.pos):tonumber()
        if old < #piece.bytes then consume(side, piece.bytes:sub(old + 1), nil, frame, out) end
    end
end

local function arrive(side, pos, s, offset, frame)
    local out = {}
    if not side.next then side.next = pos end
    if pos > side.next then
        side.pieces[#side.pieces + 1] = {pos = pos, bytes = s}
        side.waiting = side.waiting + #s
        out.early = true
        while side.waiting > WAITING_MAX do drain(side, frame, out, true) end
        return out
    end
    local old = (side.next - pos):tonumber()
    if old >= #s then
        out.again = true
        return out
    end
    consume(side, s:sub(old + 1), offset + old, frame, out)
    drain(side, frame, out)
    return out
end

-- The receiver has all below `ack`: what is missing there will not come any more.
local function acked(side, ack, frame, out)
    local i = first_piece(side)
    while i and side.pieces[i].pos <= ack do
        drain(side, frame, out, true)
        i = first_piece(side)
    end
end

-- ---- Datagrams ------------------------------------------------------------------------------------------------------

local function show_results(buf, pinfo, root, tree, out, flow, infos, counter)
    for _, r in ipairs(out) do
        if r.passed then
            tree:add(f.passed, r.passed):set_generated()
            tree:add_proto_expert_info(e.passed)
        elseif r.begins then
            if r.offset and r.ends and r.ends ~= pinfo.number then tree:add(f.segment, r.ends):set_generated() end
        else
            counter.n = counter.n + 1
            local range
            if r.offset and r.offset + 4 + r.len <= buf:len() then
                tree:add(f.record_class, buf(r.offset, 1))
                tree:add(f.record_len, buf(r.offset + 2, 2))
                range = buf(r.offset + 4, r.len):tvb()
            else
                tree:add(f.record_class, r.class):set_generated()
                if r.from then tree:add(f.begun, r.from):set_generated() end
                range = ByteArray.new(r.bytes, true):tvb("Reassembled TLP")
            end
            infos[#infos + 1] = farbus.dissect_tlp(range, pinfo, root, flow, counter.n)
        end
    end
end

local function data(buf, pinfo, root, tree, from, to, infos, counter)
    local hlen = buf(6, 2):uint()
    if hlen < 64 then
        tree:add_proto_expert_info(e.header)
        return
    end
    if buf(5, 1):bitfield(5, 1) == 1 and buf:len() == hlen then
        tree:add(f.time_flag, buf(5, 1))
        tree:add(f.clock, buf(32, 8))
    else
        tree:add(f.pos, buf(32, 8))
    end
    tree:add(f.ack, buf(40, 8))
    tree:add(f.echo, buf(48, 4))
    tree:add(f.echo_delay, buf(52, 4))
    tree:add(f.posted, buf(56, 4))
    tree:add(f.np, buf(60, 4))
    for at = 64, hlen - 8, 8 do
        tree:add(f.sack, buf(at, 8), string.format("%d to %d bytes from there", buf(at, 4):uint(), buf(at + 4, 4):uint()))
    end
    local key = pinfo.number .. "/" .. counter.datagrams
    if not results[key] then
        local out = {}
        local other = sides[to]
        if other and other.next then acked(other, buf(40, 8):uint64(), pinfo.number, out) end
        results[key] = {own = hlen < buf:len() and arrive(side_of(from), buf(32, 8):uint64(), buf:raw(hlen), hlen, pinfo.number) or
                        {}, other = out}
    end
    local here, there = from .. ">", to .. ">"
    local r = results[key]
    show_results(buf, pinfo, root, tree, r.other, {own = there, request = here}, infos, counter)
    show_results(buf, pinfo, root, tree, r.own, {own = here, request = there}, infos, counter)
    if r.own.again then
        tree:add(f.retransmitted, true):set_generated()
        tree:add_proto_expert_info(e.again)
        infos[#infos + 1] = "DATA again"
    elseif r.own.early then
        infos[#infos + 1] = "DATA beyond a gap"
    elseif hlen == buf:len() then
        infos[#infos + 1] = "acknowledgement"
    elseif #infos == 0 then
        infos[1] = "part of a TLP"
    end
end

local function hello(buf, pinfo, tree, kind, from, infos)
    if buf:len() < 132 then
        tree:add_proto_expert_info(e.header)
        return
    end
    tree:add(f.version_min, buf(32, 2))
    tree:add(f.version_max, buf(34, 2))
    tree:add(f.suites, buf(36, 2))
    tree:add(f.echo, buf(40, 4))
    tree:add(f.hold, buf(44, 4))
    tree:add(f.node, buf(48, 16))
    tree:add(f.incarnation, buf(64, 8))
    tree:add(f.pos, buf(72, 8))
    tree:add(f.group, buf(80, 4))
    tree:add(f.window, buf(84, 4))
    tree:add(f.posted, buf(88, 4))
    tree:add(f.np, buf(92, 4))
    tree:add(f.mtu, buf(96, 4))
    tree:add(f.func, buf(100, 32), farbus.text(buf(100, 32)))
    local side = side_of(from)
    if not side.next then side.next, side.synced = buf(72, 8):uint64(), true end
    infos[#infos + 1] = string.format("%s for %s, %d bytes", kinds[kind], farbus.text(buf(100, 32)), buf:reported_len())
end

local function closing(buf, tree, kind, infos)
    local at = buf(6, 2):uint()
    if at < 40 or at + buf(38, 2):uint() > buf:len() then
        tree:add_proto_expert_info(e.header)
        return
    end
    local reason, len = buf(36, 2):uint(), buf(38, 2):uint()
    tree:add(f.version_min, buf(32, 2))
    tree:add(f.version_max, buf(34, 2))
    tree:add(f.reason, buf(36, 2))
    if len > 0 then tree:add(f.text, buf(at, len), farbus.text(buf(at, len))) end
    infos[#infos + 1] = string.format("%s: %s%s", kinds[kind], reasons[reason] or reason,
                                      len > 0 and ": " .. farbus.text(buf(at, len)) or "")
end

local function listing(buf, tree, kind, infos)
    if buf:len() < (kind == LIST and 48 or 80) then
        tree:add_proto_expert_info(e.header)
        return
    end
    tree:add(f.nonce, buf(32, 4))
    tree:add(f.first, buf(36, 4))
    tree:add(f.version_min, buf(40, 2))
    tree:add(f.version_max, buf(42, 2))
    if kind == LIST then
        tree:add(f.group, buf(44, 4))
        infos[#infos + 1] = "LIST"
        return
    end
    tree:add(f.total, buf(44, 4))
    tree:add(f.n, buf(48, 2))
    tree:add(f.incarnation, buf(56, 8))
    tree:add(f.node, buf(64, 16))
    local at, size = buf(6, 2):uint(), buf(50, 2):uint()
    for _ = 1, math.min(buf(48, 2):uint(), 64) do
        if size < 80 or at + size > buf:len() then break end
        tree:add(f.entry, buf(at, size), string.format("%s, %s, %04x:%04x, class %06x, group %d%s", farbus.text(buf(at, 32)),
                 farbus.text(buf(at + 32, 16)), buf(at + 64, 2):uint(), buf(at + 66, 2):uint(), buf(at + 68, 4):uint(),
                 buf(at + 72, 4):uint(), buf(at + 79, 1):bitfield(7, 1) == 1 and ", in use" or ""))
        at = at + size
    end
    infos[#infos + 1] = string.format("LISTING: %d of %d functions", buf(48, 2):uint(), buf(44, 4):uint())
end

local function datagram(buf, pinfo, root, infos, counter)
    local tree = root:add(link, buf())
    local kind = buf(3, 1):uint()
    counter.datagrams = counter.datagrams + 1
    if buf:len() < 32 or buf(6, 2):uint() < 32 or buf(6, 2):uint() > buf:len() then
        tree:add_proto_expert_info(e.header)
        infos[#infos + 1] = "a datagram that is cut off"
        return
    end
    tree:append_text(", " .. (kinds[kind] or "kind " .. kind))
    tree:add(f.layout, buf(2, 1))
    tree:add(f.kind, buf(3, 1))
    tree:add(f.suite, buf(4, 1))
    tree:add(f.ping, buf(5, 1))
    tree:add(f.echo_flag, buf(5, 1))
    tree:add(f.hlen, buf(6, 2))
    tree:add(f.session, buf(8, 8))
    tree:add(f.from, buf(16, 8))
    tree:add(f.number, buf(24, 4))
    tree:add(f.crc, buf(28, 4))
    local from, to = buf:raw(16, 8), buf:raw(8, 8)
    if kind == DATA then
        data(buf, pinfo, root, tree, from, to, infos, counter)
    elseif kind == HELLO or kind == WELCOME then
        hello(buf, pinfo, tree, kind, from, infos)
    elseif kind == REFUSE or kind == CLOSE then
        closing(buf, tree, kind, infos)
    elseif kind == LIST or kind == LISTING then
        listing(buf, tree, kind, infos)
    else
        tree:add_proto_expert_info(e.header)
    end
end

function farbus.is_link(buf)
    return buf:len() >= 32 and buf(0, 3):uint() == 0x464201 and buf(3, 1):uint() >= 1 and buf(3, 1):uint() <= 7
end

--[[
On a host with segmentation offload a capture has many datagrams as one, all equally long but for the last: the next header with
the same two session IDs says how long.
]]
local function datagram_size(buf)
    local s = buf:raw()
    local head, ids = s:sub(1, 4), s:sub(9, 24)
    local at = s:find(head, 33, true)
    while at do
        if (at - 1) % 4 == 0 and s:sub(at + 8, at + 23) == ids then return at - 1 end
        at = s:find(head, at + 1, true)
    end
    return #s
end

function farbus.link_dissector(buf, pinfo, root)
    pinfo.cols.protocol = "Farbus"
    local infos, counter = {}, {n = 0, datagrams = 0}
    local size, at = datagram_size(buf), 0
    while at < buf:len() do
        local n = math.min(size, buf:len() - at)
        if n < 32 then break end
        datagram(buf(at, n):tvb(), pinfo, root, infos, counter)
        at = at + n
    end
    local text = table.concat(infos, ", ", 1, math.min(#infos, 4))
    if #infos > 4 then text = text .. string.format(" and %d more", #infos - 4) end
    pinfo.cols.info = text
    return buf:len()
end

link.dissector = farbus.link_dissector
link:register_heuristic("udp", function(buf, pinfo, root)
    if not farbus.is_link(buf) then return false end
    farbus.link_dissector(buf, pinfo, root)
    return true
end)
DissectorTable.get("udp.port"):add_for_decode_as(link)

end
