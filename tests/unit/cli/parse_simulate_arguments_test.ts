import { assertEquals, assertThrows } from "@std/assert";
import { parseArguments, parseSimulateArguments } from "../../../lib/cli/parse_arguments.ts";
import { UsageError } from "../../../lib/cli/io.ts";

const DEFAULTS = { source: "a.ts", trace: null, traffic: null, seed: 1, json: false, top: 20 };

Deno.test("parseSimulateArguments() reads a trace, or traffic to make up", () => {
  assertEquals(parseSimulateArguments(["a.ts", "t.jsonl", "--json", "--top", "3"]), {
    ...DEFAULTS,
    trace: "t.jsonl",
    json: true,
    top: 3,
  });
  assertEquals(
    parseSimulateArguments(["a.ts", "--rate", "90/m", "--keys=7", "--for", "10m", "--seed", "5"]),
    {
      ...DEFAULTS,
      traffic: { perSecond: 1.5, keys: 7, forMs: 600_000 },
      seed: 5,
    },
  );
  assertEquals(parseSimulateArguments(["a.ts", "--rate", "2/s"]).traffic, {
    perSecond: 2,
    keys: 100,
    forMs: 60_000,
  });
});

Deno.test("parseArguments() knows simulate, and --help behind it", () => {
  assertEquals(parseArguments(["simulate", "a.ts", "t"]), {
    kind: "simulate",
    command: { ...DEFAULTS, trace: "t" },
  });
  assertEquals(parseArguments(["simulate", "--help"]), { kind: "help", of: "simulate" });
});

const MISTAKES: readonly [args: readonly string[], message: string][] = [
  [[], "simulate takes a configuration and a trace, see --help"],
  [["a.ts"], "simulate takes a trace, or traffic to make up such as --rate 50/s --keys 1000 --for 10m"],
  [["a.ts", "t", "--keys", "5"], "simulate takes either a trace or --rate, --keys and --for, received both"],
  [["a.ts", "t", "u"], 'simulate takes one configuration and one trace, received "u" as well'],
  [
    ["a.ts", "--rate", "fast"],
    '--rate must be a number of requests such as 50/s, 100/m or 5/h, received "fast"',
  ],
  [
    ["a.ts", "--rate", "0/s"],
    '--rate must be a number of requests such as 50/s, 100/m or 5/h, received "0/s"',
  ],
  [["a.ts", "--keys=-1"], '--keys must be a whole number from 1 to 99999999, received "-1"'],
  [["a.ts", "--for", "10"], '--for must be a duration such as "30s" or "10m", received "10"'],
  [["a.ts", "t", "--jsno"], "Unknown option --jsno, did you mean --json?"],
];

Deno.test("parseSimulateArguments() says what is wrong", () => {
  for (const [args, message] of MISTAKES) {
    const error = assertThrows(() => parseSimulateArguments(args), UsageError);
    assertEquals(error.message, message);
  }
});
