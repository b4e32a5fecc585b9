-- SPDX-License-Identifier: Apache-2.0
-- TLPs by type, and a histogram of the time from request to completion. In Wireshark: Tools, Farbus TLP statistics. In tshark:
-- tshark -q -X lua_script:farbus.lua -X lua_script1:stats -r FILE
return function(farbus)

local tlps, latencies, order

function farbus.reset_statistics()
    tlps, latencies, order = {}, {}, {}
end
farbus.reset_statistics()

-- Once for each TLP; `wrong` is nil for well-formed ones.
function farbus.count_tlp(name, bytes, wrong)
    if wrong then name = "malformed" end
    if not tlps[name] then
        tlps[name] = {n = 0, bytes = 0}
        order[#order + 1] = name
    end
    tlps[name].n = tlps[name].n + 1
    tlps[name].bytes = tlps[name].bytes + bytes
end

function farbus.count_latency(name, time)
    local l = latencies[name]
    if not l then
        l = {}
        latencies[name] = l
    end
    l[#l + 1] = time * 1e6
end

-- Columns: up to 1 us, 2, 4, 8 … 2^20 us.
local function histogram(l, out)
    local slots, most = {}, 0
    for _, us in ipairs(l) do
        local slot = 0
        while us > 2 ^ slot and slot < 21 do slot = slot + 1 end
        slots[slot] = (slots[slot] or 0) + 1
        most = math.max(most, slots[slot])
    end
    for slot = 0, 21 do
        if slots[slot] then
            out[#out + 1] = string.format("  %-12s %8d  %s", slot < 21 and string.format("<= %d us", 2 ^ slot) or "more",
                                          slots[slot], string.rep("#", math.ceil(40 * slots[slot] / most)))
        end
    end
end

local function percentile(l, p)
    return l[math.max(1, math.ceil(p * #l))]
end

function farbus.report()
    local out = {"TLPs by type", string.format("  %-12s %8s %12s", "type", "TLPs", "bytes")}
    local n, bytes = 0, 0
    table.sort(order)
    for _, name in ipairs(order) do
        n, bytes = n + tlps[name].n, bytes + tlps[name].bytes
        out[#out + 1] = string.format("  %-12s %8d %12d", name, tlps[name].n, tlps[name].bytes)
    end
    out[#out + 1] = string.format("  %-12s %8d %12d", "all", n, bytes)
    local names = {}
    for name in pairs(latencies) do names[#names + 1] = name end
    table.sort(names)
    for _, name in ipairs(names) do
        local l = latencies[name]
        table.sort(l)
        out[#out + 1] = ""
        out[#out + 1] = string.format("Time from %s to its last completion: %d, median %.1f us, p99 %.1f us, largest %.1f us",
                                      name, #l, percentile(l, 0.5), percentile(l, 0.99), l[#l])
        histogram(l, out)
    end
    return table.concat(out, "\n") .. "\n"
end

-- Those of -X lua_script1:…
function farbus.arguments(args)
    for _, arg in ipairs(args) do
        if arg == "stats" then
            local listener = Listener.new("frame") -- whose end is when all has been dissected
            function listener.packet() end
            function listener.draw() print(farbus.report()) end
        end
    end
end

if gui_enabled() then
    register_menu("Farbus TLP statistics", function()
        local window = TextWindow.new("Farbus TLP statistics")
        window:set(farbus.report())
        window:add_button("Refresh", function() window:set(farbus.report()) end)
    end, MENU_TOOLS_UNSORTED)
end

end
