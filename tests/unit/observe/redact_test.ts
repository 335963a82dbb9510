import { assertEquals } from "@std/assert";
import { redactTarget, secretNames } from "../../../lib/observe/access_log_options.ts";

const SECRETS = secretNames(["Card"]);

Deno.test("redactTarget() replaces values of secret keys, in whatever letters they are written", () => {
  const cases: [target: string, redacted: string][] = [
    ["/", "/"],
    ["/a?b=c&d", "/a?b=c&d"],
    ["/a?token=x", "/a?token=[redacted]"],
    ["/a?b=c&Access_Token=x=y&d=e", "/a?b=c&Access_Token=[redacted]&d=e"],
    ["/a?%74oken=x&card=4&key=", "/a?%74oken=[redacted]&card=[redacted]&key=[redacted]"],
    ["/a?token", "/a?token"],
    ["/a?%zz=x&token=y&", "/a?%zz=x&token=[redacted]&"],
    ["/a?b=1?token=x", "/a?b=1?token=x"],
    ["/token=x", "/token=x"],
    [
      "https://ada:secret@a.example/p?password=x#token=y",
      "https://[redacted]@a.example/p?password=[redacted]",
    ],
    ["https://a.example/p@q", "https://a.example/p@q"],
  ];
  for (const [target, redacted] of cases) assertEquals(redactTarget(target, SECRETS), redacted);
});
