-- wrk script: POST the file named by $PICTURE with the key in $SECRET_API_KEY, and end with one line of JSON.

local file = assert(io.open(os.getenv("PICTURE"), "rb"))
wrk.method = "POST"
wrk.body = file:read("*a")
file:close()
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-API-Key"] = os.getenv("SECRET_API_KEY")

local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init()
  not_200 = 0 -- global, so that done() can ask each thread for it
end

function response(status)
  if status ~= 200 then
    not_200 = not_200 + 1
  end
end

function done(summary, latency)
  local wrong = 0
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("not_200")
  end
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %.6f, "p50": %d, "p99": %d, "not_200": %d, "socket_errors": %d}',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99), wrong,
    errors.connect + errors.read + errors.write + errors.timeout))
end
