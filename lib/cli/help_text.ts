/** The texts of `--help`. */

const CTL_USAGE = "lbproxy ctl COMMAND [--admin ADDR] [--token-file FILE] [--ca FILE] [--json]";
const TOP_USAGE = "lbproxy top [--admin ADDR] [--token-file FILE] [--ca FILE] [--count N]";
const SIMULATE_USAGE = `lbproxy simulate proxy.config.ts trace.jsonl [--json] [--top N]
       lbproxy simulate proxy.config.ts --rate 50/s --keys 1000 --for 10m [--seed N]`;

/** Explains the address and token options of ctl and top. */
const WHERE = `A pool without a name is "default". --admin or LBPROXY_ADMIN says where the proxy is:
"host:port" [127.0.0.1:6189], "unix:/path", or "https://host:port" with --ca FILE
(LBPROXY_ADMIN_CA) for a certificate that the system does not know. Changes need a token of
admin.tokens: LBPROXY_ADMIN_TOKEN, --token-file or --token.
`;

const CTL = `Commands of ctl, for a proxy that runs with --admin or the option admin:
  status                        What runs: servers, limits, rates
  config                        The configuration in plain words
  keys POLICY [--near 0.8]      The keys that are close to their limit
  explain TARGET [--method M] [--client IP] [--header "NAME: VALUE"]
                                What would become of this request: path or URL
  drain POOL SERVER             No new requests to this server; those that run finish
  disable POOL SERVER           The same, also for clients that are tied to it
  ready POOL SERVER             Use it again
  weight POOL SERVER N          Its share of the requests
  add POOL SERVER [--weight N]
  remove POOL SERVER
  ban POLICY KEY [DURATION]     Refuse all requests of this key
  reset POLICY KEY              Forget what the key has used, and lift its ban
  reload                        Load the configuration again
  log-level LEVEL
${WHERE}`;

const TOP = `top shows the state once a second, as lines where stdout is not a terminal.
`;

const SIMULATE = `simulate replays requests through the limits of the configuration, with a simulated clock,
and prints which keys were refused, when and by which policy. A trace has a JSON object a line, such
as {"at": "1.5s", "ip": "192.0.2.1", "target": "/", "headers": {"appid": "x"}}; the JSON
access log is one. --rate, --keys and --for simulate clients that send requests at random times.
`;

/** Usage of each subcommand. */
export const COMMAND_HELP: Readonly<Record<"ctl" | "top" | "simulate", string>> = {
  ctl: `Usage: ${CTL_USAGE}\n\n${CTL}`,
  top: `Usage: ${TOP_USAGE}\n\n${TOP}${WHERE}`,
  simulate: `Usage: ${SIMULATE_USAGE}\n\n${SIMULATE}`,
};

/** Usage of the program. */
export const HELP_TEXT: string = `lbproxy: a rate-limited, load-balanced HTTP reverse proxy

Usage: lbproxy [proxy.config.ts] [options]
       lbproxy --init [DIR]
       ${CTL_USAGE}
       ${TOP_USAGE}
       ${SIMULATE_USAGE}

The configuration is a module: its exports say where to listen, where requests go, and
how many requests each client may send. Without a name it is proxy.config.ts in the working
directory; it may also be a URL (https:, jsr:).

Options:
  --listen ADDR        Listen at "host:port" or at a port in place of what the
                       configuration says; may be given more than once
  --engine ENGINE      Which HTTP server serves clients: http1, the proxy's own; deno, the
                       runtime's; auto, the proxy's own [auto]
  --admin [ADDR]       Open the admin listener (dashboard, metrics, ctl) at "host:port",
                       "unix:/path" or a port of 127.0.0.1 [127.0.0.1:6189]
  --watch              Read the configuration again when its file changes, or a local
                       module that it imports
  --workers N          Serve with N processes at the same addresses, which share limits, health
                       and loads; auto is one a core (Linux) [1]
  --init [DIR]         Write a configuration with comments, a test of it and a deno.json into
                       a directory [.]
  --demo-load          Send itself about 40 requests a second, so that the dashboard shows something
  --check              Check the configuration, show what it means, and exit; with --types
                       its types too, by "deno check" (needs --allow-run)
  --log-level LEVEL    debug, info, warn or error [info]; requests are info
  --log-format FORMAT  text or json [text]
  --version            Show the version and exit
  --help               Show this text and exit

${CTL}
${TOP}
${SIMULATE}
Logs: a line a request on stdout, everything else on stderr.

Signals: SIGHUP reads the configuration again; one that cannot be used changes nothing.
The first SIGINT or SIGTERM ends the proxy once the running requests have finished (30 s at
most, see gracePeriod), a second one ends it at once. SIGUSR2 opens log files again. SIGUSR1
is the runtime's: it opens a debugger on 127.0.0.1 (forbid it: env --block-signal=USR1 deno ...).

Permissions: --allow-net --allow-read are enough for the proxy itself; -A allows everything.

Exit codes:
  0    stopped as told, or nothing wrong with the configuration
  1    failed while starting or running, such as an address in use; or requests were cut off
       at the end of the gracePeriod
  2    wrong configuration or options; nothing has been started
  130  ended at once by a second SIGINT; 143 by a second SIGTERM
`;
