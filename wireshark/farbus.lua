-- SPDX-License-Identifier: Apache-2.0
--
-- Wireshark and tshark dissect PCI Express TLPs: those of farbus captures (pcapng of "farbus capture"), of SoftPCIe/NetTLP
-- datagrams, and of farbus's own link. Wireshark 4.0 and later. docs/capture.md says how to install and use it.
--
-- This file loads the parts, each of which is a function of the table that they share:
--
--	tlp       one TLP: fields, checks, requests linked with completions, reads put together
--	message   farbus' own messages
--	tap       the header in front of a TLP in farbus captures
--	softpcie  one TLP a UDP datagram
--	link      the link's datagrams, and the stream of TLPs in them
--	stats     TLPs by type, latencies
--
-- Wireshark loads every *.lua below its plugin folder, so the parts must do nothing by being loaded.

local source = debug.getinfo(1, "S").source:gsub("^@", "")
local folder = source:match("^(.*[/\\])") or ""

-- Given by -X lua_script:… though it is installed too: what is there stays.
if rawget(_G, "farbus_dissectors") then
    rawget(_G, "farbus_dissectors").arguments({...})
    return
end

local farbus = {}
rawset(_G, "farbus_dissectors", farbus)
for _, part in ipairs({"tlp", "message", "stats", "tap", "softpcie", "link"}) do
    dofile(folder .. "farbus/" .. part .. ".lua")(farbus)
end
farbus.arguments({...})
