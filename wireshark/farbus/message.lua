-- SPDX-License-Identifier: Apache-2.0
-- Farbus' own messages (docs/protocol.md, section 12): Vendor_Defined Type 1 with data, vendor ID FAB5h, little-endian payload.
return function(farbus)

local message = Proto("fbmsg", "Farbus message")

local kinds = {[0x52494e47] = "Rule", [0x44415441] = "Ahead", [0x41424c45] = "Able", [0x494e4458] = "Index",
               [0x4f464652] = "Offer", [0x55534544] = "Used"}

local f = {
    kind = ProtoField.uint32("fbmsg.kind", "Kind", base.HEX, kinds),
    slot = ProtoField.uint8("fbmsg.slot", "Slot"),
    bar = ProtoField.uint8("fbmsg.bar", "BAR"),
    offset = ProtoField.uint32("fbmsg.offset", "Offset in the BAR", base.HEX),
    data_max = ProtoField.uint16("fbmsg.rule.data_max", "Data at most (bytes)"),
    base = ProtoField.uint64("fbmsg.rule.base", "Address of entry 0", base.HEX),
    entry_size = ProtoField.uint32("fbmsg.rule.entry_size", "Size of an entry (bytes)"),
    entries = ProtoField.uint32("fbmsg.rule.entries", "Entries"),
    pointers = ProtoField.bool("fbmsg.rule.pointers", "Pointer registers"),
    match_at = ProtoField.uint8("fbmsg.rule.match_at", "Data goes along if the byte at"),
    match = ProtoField.uint8("fbmsg.rule.match", "… is", base.HEX),
    pointer_at = ProtoField.uint8("fbmsg.rule.pointer_at", "Address of the data at"),
    count_at = ProtoField.uint8("fbmsg.rule.count_at", "Number of units at"),
    count_shift = ProtoField.uint8("fbmsg.rule.count_shift", "log2 of the bytes of a unit"),
    list_stride = ProtoField.uint8("fbmsg.rule.list_stride", "Bytes from one list element to the next"),
    end_at = ProtoField.uint8("fbmsg.rule.end_at", "The last element has something else than 0 at"),
    reg_stride = ProtoField.uint16("fbmsg.rule.reg_stride", "Bytes from one register to the next"),
    shadow = ProtoField.uint64("fbmsg.rule.shadow", "Address of the shadow index", base.HEX),
    event = ProtoField.uint64("fbmsg.rule.event", "Address of the event index", base.HEX),
    addr = ProtoField.uint64("fbmsg.ahead.addr", "Bus address", base.HEX),
    length = ProtoField.uint32("fbmsg.ahead.length", "Bytes"),
    data = ProtoField.bytes("fbmsg.ahead.data", "What a read there would give"),
    shadows = ProtoField.bool("fbmsg.able.shadows", "Serves shadow indexes", 32, nil, 0x1),
    offers = ProtoField.bool("fbmsg.able.offers", "Answers reads from offers", 32, nil, 0x2),
    index = ProtoField.uint32("fbmsg.index", "Index"),
    seq = ProtoField.uint32("fbmsg.offer.number", "Number of the offer"),
    seen = ProtoField.uint32("fbmsg.offer.seen", "TLPs of the root seen"),
    value = ProtoField.uint64("fbmsg.offer.value", "Value", base.HEX),
    size = ProtoField.uint8("fbmsg.offer.size", "Size of the read"),
    inert = ProtoField.bool("fbmsg.offer.inert", "Inert", 8, nil, 0x1),
    lowers = ProtoField.bool("fbmsg.offer.lowers_intx", "Reading it deasserts INTx", 8, nil, 0x2),
    lowered = ProtoField.bool("fbmsg.used.lowered_intx", "The root holds INTx for deasserted", 8, nil, 0x1),
}
local list = {}
for _, field in pairs(f) do list[#list + 1] = field end
message.fields = list

local short = ProtoExpert.new("fbmsg.expert.malformed", "Farbus message that is malformed: it is ignored", expert.group.MALFORMED,
                              expert.severity.WARN)
message.experts = {short}

-- What a register is called in the Info column.
local function register(bar, offset) return string.format("BAR %d + 0x%x", bar, offset) end

-- Each returns what the Info column says, or nil: malformed.
local show = {}

function show.Rule(p, tree)
    if p:len() < 36 then return nil end
    local n = p(20, 4):le_uint()
    local pointers = n >= 0x80000000
    if pointers then n = n - 0x80000000 end
    local size, data = p(16, 4):le_uint(), p(2, 2):le_uint()
    tree:add(f.slot, p(0, 1))
    tree:add(f.bar, p(1, 1))
    tree:add_le(f.data_max, p(2, 2))
    tree:add_le(f.offset, p(4, 4))
    tree:add_le(f.base, p(8, 8))
    tree:add_le(f.entry_size, p(16, 4))
    tree:add(f.entries, p(20, 4), n)
    tree:add(f.pointers, p(23, 1), pointers)
    tree:add(f.match_at, p(24, 1))
    tree:add(f.match, p(25, 1))
    tree:add(f.pointer_at, p(26, 1))
    tree:add(f.count_at, p(27, 1))
    tree:add(f.count_shift, p(28, 1))
    if pointers then
        tree:add(f.list_stride, p(29, 1))
        tree:add(f.end_at, p(30, 1))
        tree:add_le(f.reg_stride, p(32, 2))
    end
    local shadow, event = UInt64.new(0), UInt64.new(0)
    if p:len() >= 52 then
        shadow, event = p(36, 8):le_uint64(), p(44, 8):le_uint64()
        tree:add_le(f.shadow, p(36, 8))
        tree:add_le(f.event, p(44, 8))
    end
    if p(0, 1):uint() > 63 or p(1, 1):uint() > 5 then return nil end
    if n == 0 and not pointers then return string.format("slot %d empty", p(0, 1):uint()) end
    -- The ranges of the fields; those of the data only if there is any.
    local width, most = pointers and 4 or 2, pointers and 32768 or 4096
    if size == 0 or size % 4 ~= 0 or size > 256 or data > most then return nil end
    if data > 0 and (p(24, 1):uint() >= size or p(26, 1):uint() + 8 > size or p(27, 1):uint() + width > size or
                     p(28, 1):uint() > 12) then return nil end
    if pointers then
        if n == 0 or n > 64 or p(32, 2):le_uint() < 8 or shadow ~= UInt64.new(0) or event ~= UInt64.new(0) or
           (data > 0 and p(30, 1):uint() >= size) then return nil end
    elseif n < 2 or n > 65536 or shadow % 4 ~= UInt64.new(0) or event % 4 ~= UInt64.new(0) or
           (shadow == UInt64.new(0)) ~= (event == UInt64.new(0)) then
        return nil
    end
    return string.format("slot %d %s, %d %s of %d bytes", p(0, 1):uint(), register(p(1, 1):uint(), p(4, 4):le_uint()), n,
                         pointers and "pointers to blocks" or "entries", size)
end

function show.Ahead(p, tree)
    if p:len() < 16 then return nil end
    local n = p(8, 4):le_uint()
    tree:add_le(f.addr, p(0, 8))
    tree:add_le(f.length, p(8, 4))
    if n == 0 or n > p:len() - 16 then return nil end
    tree:add(f.data, p(16, n))
    return string.format("0x%s %d bytes", p(0, 8):le_uint64():tohex(), n)
end

function show.Able(p, tree)
    tree:add_le(f.shadows, p(0, 4))
    tree:add_le(f.offers, p(0, 4))
    return ""
end

function show.Index(p, tree)
    if p:len() < 8 then return nil end
    tree:add(f.slot, p(0, 1))
    tree:add_le(f.index, p(4, 4))
    return string.format("slot %d index %d", p(0, 1):uint(), p(4, 4):le_uint())
end

function show.Offer(p, tree)
    if p:len() < 8 then return nil end
    local n, wrong = math.floor((p:len() - 8) / 16), (p:len() - 8) % 16 ~= 0 or p:len() > 8 + 7 * 16
    tree:add_le(f.seq, p(0, 4))
    tree:add_le(f.seen, p(4, 4))
    for i = 0, n - 1 do
        local v = p(8 + 16 * i, 16)
        local bar, size, offset = v(0, 1):uint(), v(1, 1):uint(), v(4, 4):le_uint()
        local sub = tree:add_le(f.value, v(8, 8))
        sub:append_text(", " .. register(bar, offset))
        sub:add(f.bar, v(0, 1))
        sub:add(f.size, v(1, 1))
        sub:add(f.inert, v(2, 1))
        sub:add(f.lowers, v(2, 1))
        sub:add_le(f.offset, v(4, 4))
        wrong = wrong or bar > 5 or not ({[1] = 1, [2] = 1, [4] = 1, [8] = 1})[size] or offset % size ~= 0
    end
    if wrong then return nil end
    return string.format("number %d, %d registers", p(0, 4):le_uint(), n)
end

function show.Used(p, tree)
    if p:len() < 12 then return nil end
    tree:add_le(f.seq, p(0, 4))
    tree:add_le(f.offset, p(4, 4))
    tree:add(f.bar, p(8, 1))
    tree:add(f.lowered, p(9, 1))
    return string.format("number %d, %s", p(0, 4):le_uint(), register(p(8, 1):uint(), p(4, 4):le_uint()))
end

-- `head`: the message's bytes 8 to 15; `payload`: all of its data. Returns text for the Info column; nil: no message of ours.
function farbus.dissect_message(head, payload, tree)
    local name = head(2, 2):uint() == 0xfab5 and kinds[head(4, 4):uint()]
    if not name then return nil end
    local sub = tree:add(message, payload())
    sub:append_text(", " .. name)
    sub:add(f.kind, head(4, 4))
    local text = show[name](payload, sub)
    if not text then sub:add_proto_expert_info(short) end
    return "Farbus " .. name .. (text == nil and " [malformed]" or text ~= "" and " " .. text or "")
end

end
