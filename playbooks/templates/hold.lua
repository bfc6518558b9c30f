-- Holds new connections while a backend has no server, instead of refusing
-- them: clients of a switchover wait a moment and then reach the new primary.
--   tcp-request content lua.hold BACKEND MILLISECONDS

local function has_server(name)
    for _, server in pairs(core.backends[name].servers) do
        local status = server:get_stats()["status"]
        if status and status:sub(1, 2) == "UP" then
            return true
        end
    end
    return false
end

core.register_action("hold", { "tcp-req" }, function(_, name, limit_ms)
    local waited = 0
    while waited < tonumber(limit_ms) and not has_server(name) do
        core.msleep(5)
        waited = waited + 5
    end
end, 2)
