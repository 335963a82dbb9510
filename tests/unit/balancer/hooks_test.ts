import { assertEquals } from "@std/assert";
import { LoadBalancer, type LoadBalancerOptions } from "../../../lib/balancer/load_balancer.ts";
import type { LoadBalancerHooks } from "../../../lib/balancer/load_balancer_options.ts";
import { StrayErrors, StrayRejections } from "../../support/stray_errors.ts";

/** For each hook what makes a balancer call it: options, and something that happens. */
const HOOKS: Record<
  keyof LoadBalancerHooks,
  [options: LoadBalancerOptions, happens: (balancer: LoadBalancer) => unknown]
> = {
  onHealthChange: [
    { healthCheck: { type: "custom", check: () => Promise.resolve(false) } },
    (balancer) => balancer.startHealthChecks(),
  ],
  onCheckImpossible: [
    {
      healthCheck: {
        type: "custom",
        check: () => Promise.reject(new Error("Too many open files (os error 24)")),
      },
    },
    (balancer) => balancer.startHealthChecks(),
  ],
  onEjection: [
    { ejection: { consecutiveFailures: 1, maxEjectedPercent: 100 } },
    (balancer) => balancer.report(balancer.pool.servers[0]!, "failure", 1),
  ],
  onPanic: [
    { panicThreshold: 1 },
    (balancer) => {
      balancer.pool.servers[0]!.setHealth("down");
      balancer.select();
    },
  ],
  onBalanceError: [{ balance: () => new Error("no server") as never }, (balancer) => balancer.select()],
};

for (const [name, [options, happens]] of Object.entries(HOOKS)) {
  for (const how of ["throws", "rejects"]) {
    Deno.test(`LoadBalancer goes on when ${name} ${how}`, async () => {
      using rejections = new StrayRejections();
      using strays = new StrayErrors();
      let calls = 0;
      const hook = (): void | Promise<void> => {
        calls++;
        if (how === "throws") throw new Error("boom");
        return Promise.reject(new Error("boom"));
      };
      await using balancer = LoadBalancer.from(["10.0.0.1:80", "10.0.0.2:80"], { ...options, [name]: hook });
      await happens(balancer);
      // An unheard rejection is told of in a later turn.
      await new Promise((resolve) => setTimeout(resolve, 0));
      const lines = Array.from({ length: calls }, () => `${name} threw: boom`);
      assertEquals([calls > 0, strays.lines, rejections.reasons], [true, lines, []]);
    });
  }
}

Deno.test("LoadBalancer without onBalanceError tells on stderr what is wrong with its function", () => {
  using strays = new StrayErrors();
  using balancer = LoadBalancer.from(["10.0.0.1:80"], { balance: () => "10.0.0.1:80" as never });
  assertEquals(balancer.select(), undefined);
  assertEquals(
    new Set(strays.lines),
    new Set([
      'balance threw: it must return one of the servers or nothing, returned "10.0.0.1:80"',
    ]),
  );
});
