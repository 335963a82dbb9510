import { assertEquals } from "@std/assert";
import { redisTest } from "../../support/redis_server.ts";
import { startExample } from "../../support/start_example.ts";

redisTest(
  "examples/redis_shared admits sixty requests a minute through two processes together",
  async (redis) => {
    const options = {
      set: { "limiter.store.url": redis.url, "limiter.store.timeout": "5s" },
      permissions: ["--allow-net", "--allow-read", "--ignore-env"],
    };
    await using one = await startExample("redis_shared", options);
    await using two = await startExample("redis_shared", options);
    const statuses: number[] = [];
    for (let n = 0; n < 62; n++) statuses.push((await (n % 2 === 0 ? one : two).ask("GET /")).status);
    assertEquals(statuses, [...Array(60).fill(200), 429, 429]);
  },
);
