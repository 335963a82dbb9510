/** What `--help` says. */

/** How the program is used. */
export const HELP_TEXT: string = `lbproxy: a rate-limited, load-balanced HTTP reverse proxy

Usage: lbproxy [proxy.config.ts] [options]
       lbproxy --init [DIR]
       lbproxy simulate proxy.config.ts trace.jsonl [--json] [--top N]
       lbproxy ctl COMMAND [--admin ADDR] [--token-file FILE] [--ca FILE] [--json]
       lbproxy top [--admin ADDR] [--token-file FILE] [--ca FILE] [--count N]
       lbproxy simulate proxy.config.ts --rate 50/s --keys 1000 --for 10m [--seed N]

The configuration is a module: its exports say where to listen, where requests go, and
how often clients may ask. Without a name it is proxy.config.ts in the working directory;
a URL (https:, jsr:) will do as well.

Options:
  --listen ADDR        Listen at "host:port" or at a port in place of what the
                       configuration says; may be given more than once
  --engine ENGINE      Who talks to clients: http1, the proxy's own server; deno, the
                       runtime's; auto, the first where it will do [auto]
  --admin [ADDR]       Show a dashboard, and take changes with a token, at "host:port",
                       "unix:/path" or a port of 127.0.0.1 [127.0.0.1:6189]
  --watch              Read the configuration again when its file changes, or a local
                       module that it imports
  --workers N          Serve with N processes at the same addresses, which share limits, health
                       and loads; auto is one a core (Linux) [1]
  --init               Write a configuration with comments, a test of it and a deno.json into
                       the directory [.]
  --demo-load          Ask itself some 40 times a second, for something to see
  --check              Check the configuration, show what it means, and exit; with --types its types
                       too, by "deno check" (wants --allow-run)
  --log-level LEVEL    debug, info, warn or error [info]; requests are info
  --log-format FORMAT  text or json [text]
  --version            Show the version and exit
  --help               Show this text and exit

ctl asks a proxy that runs with --admin for one thing: status, config, reload,
drain | ready | disable | remove POOL SERVER, add POOL SERVER [--weight N],
weight POOL SERVER N, keys POLICY [--near 0.8], ban POLICY KEY [DURATION],
reset POLICY KEY, log-level LEVEL. Changes need a token of admin.tokens, from
LBPROXY_ADMIN_TOKEN, --token-file or --token; LBPROXY_ADMIN says where the proxy is:
"host:port", "unix:/path", or "https://host:port" with --ca FILE (LBPROXY_ADMIN_CA) for a
certificate that the system does not know.
top shows the state once a second; where stdout is no terminal, as lines.

simulate replays requests through the limits of the configuration, with a clock that jumps,
and prints who was refused, when and by which policy. A trace has a JSON object a line, such
as {"at": "1.5s", "ip": "192.0.2.1", "target": "/", "headers": {"appid": "x"}}; the JSON
access log is one. --rate, --keys and --for make up clients who ask at random moments.

Logs: a line a request on stdout, everything else on stderr.

Signals: SIGHUP reads the configuration again; one that cannot be used changes nothing.
The first SIGINT or SIGTERM ends the proxy once the running requests have finished (30 s at
most, see gracePeriod), a second one ends it at once. SIGUSR2 opens log files again. SIGUSR1
is the runtime's: it opens a debugger on 127.0.0.1 (forbid it: env --block-signal=USR1 deno ...).

Permissions: --allow-net --allow-read are enough for the proxy itself; -A will do.

Exit codes:
  0    stopped as told, or nothing wrong with the configuration
  1    failed while starting or running, such as an address in use; or requests were cut off
       at the end of the gracePeriod
  2    wrong configuration or options; nothing has been started
  130  ended at once by a second SIGINT; 143 by a second SIGTERM
`;
