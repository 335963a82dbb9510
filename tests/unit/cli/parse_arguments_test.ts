import { COMMAND_HELP } from "../../../lib/cli/help_text.ts";
import { assert, assertEquals, assertThrows } from "@std/assert";
import { parseArguments } from "../../../lib/cli/parse_arguments.ts";
import { resolveClientLimits } from "../../../lib/config/listen_options.ts";
import { UsageError } from "../../../lib/cli/io.ts";

const LIMITS = resolveClientLimits({});

Deno.test("parseArguments() has defaults for everything", () => {
  assertEquals(parseArguments([]), {
    kind: "run",
    options: {
      source: "proxy.config.ts",
      check: false,
      types: false,
      watch: false,
      demoLoad: false,
      listen: [],
      engine: null,
      admin: null,
      workers: null,
      logLevel: "info",
      logFormat: "text",
    },
  });
});

Deno.test("parseArguments() reads every option, before and after the configuration", () => {
  const options = {
    source: "my.config.ts",
    check: true,
    types: true,
    watch: true,
    demoLoad: true,
    listen: [
      { hostname: "::1", port: 80, engine: "http1", limits: LIMITS },
      { hostname: "0.0.0.0", port: 0, engine: "http1", limits: LIMITS },
    ],
    engine: "deno",
    admin: { hostname: "::1", port: 7, engine: "http1", limits: LIMITS },
    workers: 4,
    logLevel: "warn",
    logFormat: "json",
  } as const;
  const before = [
    "--check",
    "--types",
    "--watch",
    "--demo-load",
    "--listen",
    "[::1]:80",
    "--listen=0",
    "--engine",
    "deno",
    "--admin",
    "[::1]:7",
  ];
  const after = ["--log-level=warn", "--log-format", "json", "--workers", "4"];
  for (const args of [[...before, "my.config.ts", ...after], ["my.config.ts", ...after, ...before]]) {
    assertEquals(parseArguments(args), { kind: "run", options });
  }
  const numeric = parseArguments(["--", "8080"]);
  assertEquals(numeric.kind === "run" && numeric.options.source, "8080");
});

Deno.test("parseArguments() takes --admin with an address or without one", () => {
  const placeOf = (...args: string[]) => {
    const command = parseArguments(args);
    if (command.kind !== "run") throw new Error(command.kind);
    const { admin, source } = command.options;
    return [admin?.unix ?? `${admin?.hostname}:${admin?.port}`, source];
  };
  assertEquals(placeOf("--admin"), ["127.0.0.1:6189", "proxy.config.ts"]);
  assertEquals(placeOf("--admin", "my.config.ts"), ["127.0.0.1:6189", "my.config.ts"]);
  assertEquals(placeOf("--admin", "--log-level", "warn"), ["127.0.0.1:6189", "proxy.config.ts"]);
  assertEquals(placeOf("--admin", "7000", "my.config.ts"), ["127.0.0.1:7000", "my.config.ts"]);
  assertEquals(placeOf("my.config.ts", "--admin=unix:/run/x"), ["/run/x", "my.config.ts"]);
});

Deno.test("parseArguments() shows the help of a command alone", () => {
  for (const command of ["ctl", "top", "simulate"] as const) {
    assertEquals(parseArguments([command, "--help"]), { kind: "help", of: command });
    assertEquals(parseArguments([command, "a", "-h"]), { kind: "help", of: command });
    assert(COMMAND_HELP[command].startsWith(`Usage: lbproxy ${command} `));
    assert(!COMMAND_HELP[command].includes("Exit codes"));
  }
});

Deno.test("parseArguments() puts --help and --version before everything else", () => {
  for (const args of [["--help"], ["-h"], ["a.ts", "b.ts", "--help", "--version"]]) {
    assertEquals(parseArguments(args), { kind: "help" });
  }
  for (const args of [["--version"], ["-V"], ["--log-level", "x", "--version"]]) {
    assertEquals(parseArguments(args), { kind: "version" });
  }
});

const MISTAKES: readonly [args: readonly string[], message: string][] = [
  [["--lisen", "80"], "Unknown option --lisen, did you mean --listen?"],
  [["--loglevel=warn"], "Unknown option --loglevel, did you mean --log-level?"],
  [["--chek"], "Unknown option --chek, did you mean --check?"],
  [["--no-check"], "Unknown option --no-check, did you mean --check?"],
  [["--worker", "4"], "Unknown option --worker, did you mean --workers?"],
  [["--workers", "0"], `--workers must be a whole number from 1 to 32, or "auto", received "0"`],
  [["--workers", "many"], `--workers must be a whole number from 1 to 32, or "auto", received "many"`],
  [["-x"], "Unknown option -x, see --help"],
  [["--listen"], '--listen must be "host:port", "unix:/path" or a port number, received ""'],
  [["--listen", "--check"], '--listen must be "host:port", "unix:/path" or a port number, received ""'],
  [
    ["--listen", "localhost"],
    '--listen must be "host:port", "unix:/path" or a port number, received "localhost"',
  ],
  [["--listen", "70000"], '--listen must be "host:port", "unix:/path" or a port number, received "70000"'],
  [
    ["--log-level", "wran"],
    '--log-level must be one of debug, info, warn, error, received "wran", did you mean "warn"?',
  ],
  [["--log-level"], '--log-level must be one of debug, info, warn, error, received ""'],
  [["--log-format", "xml"], '--log-format must be one of text, json, received "xml"'],
  [
    ["--engine", "htpp1"],
    '--engine must be one of auto, http1, deno, received "htpp1", did you mean "http1"?',
  ],
  [["--admin=here"], '--admin must be "host:port", "unix:/path", a port number or nothing, received "here"'],
  [["a.ts", "b.ts"], 'Only one configuration can be run, received "a.ts" and "b.ts"'],
];

for (const [args, message] of MISTAKES) {
  Deno.test(`parseArguments() refuses ${args.join(" ")}`, () => {
    assertEquals(assertThrows(() => parseArguments(args), UsageError).message, message);
  });
}
