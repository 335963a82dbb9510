/** The dashboard in a real browser; left out where there is no Chromium (`apt-get install chromium`, or set `CHROMIUM`). */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { ADMIN, AdminClient, TOKEN } from "../../support/admin_client.ts";
import { CHROMIUM, TestPage } from "../../support/browser.ts";
import { startProxy, type TestProxy } from "../../support/start_proxy.ts";
import { startUpstream, type Upstream } from "../../support/start_upstream.ts";

function testInBrowser(name: string, run: () => Promise<void>): void {
  const why = CHROMIUM === null ? " (left out: there is no Chromium)" : "";
  Deno.test({ name: `The dashboard ${name}${why}`, ignore: CHROMIUM === null, fn: run });
}

/** Two servers and a limit, with a page that shows them. */
class Stage implements AsyncDisposable {
  readonly one: Upstream = startUpstream("one");
  readonly two: Upstream = startUpstream("two");
  proxy!: TestProxy;
  admin!: AdminClient;
  readonly #stack = new AsyncDisposableStack();

  static async set(admin: object = ADMIN, limits: object = { limit: 5 }): Promise<Stage> {
    const stage = new Stage();
    stage.proxy = await startProxy({
      upstreams: {
        servers: [stage.one.address, stage.two.address],
        healthCheck: { type: "tcp", interval: "500ms" },
      },
      limiter: { name: "app", key: "header:appid", limit: 5, window: "1h", ...limits },
      admin,
    });
    stage.admin = new AdminClient(stage.proxy);
    return stage;
  }

  async open(options: Parameters<typeof TestPage.open>[1] = {}): Promise<TestPage> {
    return this.#stack.use(await TestPage.open(this.proxy.server.adminAddress!, options));
  }

  async ask(times: number, appid?: string): Promise<void> {
    for (let n = 0; n < times; n++) {
      await this.proxy.ask("GET /", appid === undefined ? [] : [`appid: ${appid}`]);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
    await this.proxy[Symbol.asyncDispose]();
    await this.one.close();
    await this.two.close();
  }
}

testInBrowser(
  "shows what /status says, asks nobody else, stays small, and has nothing to complain of",
  async () => {
    await using stage = await Stage.set();
    const page = await stage.open();
    await stage.ask(40);
    await stage.ask(7, "me");
    await stage.proxy.seen.untilEntries(47);
    await page.page.getByText("47 since the start").first().waitFor();
    const status = await stage.admin.status();
    for (const server of status.pools[0]!.servers) {
      const cells = await page.row(server.address).locator("td").allInnerTexts();
      assertEquals(cells[2], String(server.weight));
      assertEquals(cells[8], String(server.codes["2xx"]));
      assertEquals(cells[11], String(server.failures));
      assertMatch(cells[0]!, /^Up\s+for \d+ s$/);
      assertMatch(cells[12]!, /^Passed in /);
    }
    assertMatch(await page.page.locator(".limit .rates").innerText(), /5 and 2 since the start/);
    assertMatch(await page.page.locator(".keys tbody tr").innerText(), /^me\s+5 of 5/);
    assertMatch(
      await page.page.locator("#config").innerText(),
      new RegExp(status.configuration.hash.slice(0, 16)),
    );
    await page.page.getByText("In plain words").click();
    await page.page.locator("#config-text").getByText("limit     app").waitFor();
    const origin = `http://${stage.proxy.server.adminAddress}/`;
    assertEquals(page.requests.filter((url) => !url.startsWith(origin) && !url.startsWith("data:")), []);
    assert(page.bytes > 60_000 && page.bytes < 120 * 1024, `${page.bytes} bytes`);
    assertEquals(page.complaints, []);
  },
);

testInBrowser("shows a server that is killed in red, with the reason, and back in green", async () => {
  await using stage = await Stage.set();
  const page = await stage.open();
  const { address, port } = stage.two;
  await stage.two.close();
  const down = page.row(address);
  await page.page.locator("tr.row-bad").filter({ hasText: address }).waitFor();
  // A check that was waiting at the listener is reset.
  assertMatch(await down.innerText(), /Down[^]*(refused|reset)/i);
  const painted = await page.page.evaluate(
    `getComputedStyle(document.querySelector("tr.row-bad td.state")).color`,
  );
  assertEquals(painted, "rgb(185, 44, 38)");
  assertMatch(await page.page.locator("#log li").first().innerText(), /warn[^]*is unhealthy/);
  await using _again = startUpstream({ name: "two", port });
  await page.page.locator("tr.row-ok").filter({ hasText: address }).waitFor();
  assertEquals(page.complaints, []);
});

testInBrowser("drains, weighs and bans for who has a token, by mouse and by keyboard", async () => {
  await using stage = await Stage.set();
  await stage.ask(5, "me");
  const { page, row } = await stage.open().then((opened) => ({
    page: opened.page,
    row: opened.row.bind(opened),
  }));
  const pool = stage.proxy.server.pools.get("default")!;
  const { address } = stage.one;
  assertEquals(await page.getByRole("button", { name: `Drain ${address}` }).count(), 0);

  // By keyboard alone: to the button, past the link and the theme.
  await page.getByRole("button", { name: "Unlock changes" }).focus();
  await page.keyboard.press("Enter");
  await page.keyboard.type("a-wrong-token-0123456789");
  await page.keyboard.press("Enter");
  await page.getByText("This is none of the tokens in admin.tokens.").waitFor();
  await page.getByLabel("Token", { exact: true }).fill(TOKEN);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "tester: lock" }).waitFor();

  await page.getByRole("button", { name: `Drain ${address}` }).click();
  await row(address).getByText("Draining").waitFor();
  assertEquals(pool.server(address)?.draining, true);
  await row(address).getByText("drain by tester").waitFor();
  await page.getByRole("button", { name: `Ready ${address}` }).click();
  await row(address).getByText("Up", { exact: true }).waitFor();
  assertEquals(pool.server(address)?.draining, false);

  const weight = page.getByLabel(`Weight of ${address}`);
  await weight.fill("3");
  await weight.press("Enter");
  await page.getByText(`Done: weight server ${address}`).waitFor();
  assertEquals(pool.server(address)?.weight, 3);

  await page.getByRole("button", { name: "Ban me" }).click();
  await page.getByLabel("For how long").selectOption("1h");
  await page.getByRole("button", { name: "Ban", exact: true }).click();
  await page.getByText(/banned for/).waitFor();
  assertEquals((await stage.proxy.ask("GET /", ["appid: me"])).status, 429);
  await page.getByRole("button", { name: "Lift ban me" }).click();
  await page.getByText("No key has used a tenth of its limit.").waitFor();
  assertEquals((await stage.proxy.ask("GET /", ["appid: me"])).status, 200);

  // The last one only after a question.
  await page.getByRole("button", { name: `Drain ${stage.two.address}` }).click();
  await row(stage.two.address).getByText("Draining").waitFor();
  await page.getByRole("button", { name: `Drain ${address}` }).click();
  await page.getByText("Drain the last server of default?").waitFor();
  await page.keyboard.press("Escape");
  assertEquals(pool.server(address)?.draining, false);
  const changes = stage.proxy.seen.eventsOf("admin_change");
  assertEquals(changes.map(({ who, action }) => `${who}: ${action}`), [
    "tester: drain",
    "tester: ready",
    "tester: weight",
    "tester: ban",
    "tester: reset",
    "tester: drain",
  ]);
});

testInBrowser("keeps the focus and what is being typed while figures change", async () => {
  await using stage = await Stage.set();
  const { page } = await stage.open({ unlocked: true });
  const weight = page.getByLabel(`Weight of ${stage.one.address}`);
  await weight.focus();
  await weight.fill("12");
  const before = await page.locator("#facts").innerText();
  await page.locator("#facts").filter({ hasNotText: before }).waitFor();
  assertEquals(await weight.inputValue(), "12");
  assertEquals(
    await page.evaluate("document.activeElement.getAttribute('aria-label')"),
    `Weight of ${stage.one.address}`,
  );
});

testInBrowser("shows markup in the names of keys, pools and events as text", async () => {
  await using upstream = startUpstream();
  const nasty = `<img src=x onerror="pwned=1"><script>pwned=1</script>`;
  await using proxy = await startProxy({
    upstreams: [{ address: upstream.address, tags: [nasty] }],
    limiter: { name: nasty, key: "header:appid", limit: 2, window: "1h" },
    admin: ADMIN,
  });
  await proxy.ask("GET /", [`appid: ${nasty}`]);
  await new AdminClient(proxy).post(`/limits/${encodeURIComponent(nasty)}/keys/ban`, { key: nasty });
  await using page = await TestPage.open(proxy.server.adminAddress!, { unlocked: true });
  await page.page.locator(".keys .name").getByText(nasty, { exact: true }).waitFor();
  assertMatch(await page.page.locator(".limit h3").innerText(), /^<img src=x/);
  assertMatch(await page.page.locator("#log li").first().innerText(), /<script>/);
  assertEquals(await page.page.locator("main img, main script").count(), 0);
  assertEquals(await page.page.evaluate("globalThis.pwned"), undefined);
  assertEquals(page.complaints, []);
});

testInBrowser("has a policy that keeps other scripts, styles and requests out", async () => {
  await using stage = await Stage.set();
  const { page } = await stage.open();
  const policy = (await stage.admin.get("/")).headers.get("content-security-policy") ?? "";
  assertMatch(policy, /^default-src 'none'; script-src 'self';/);
  assert(!policy.includes("unsafe"));
  const tried = await page.evaluate(`(async () => {
    const results = [];
    try { document.body.innerHTML += "<b>x</b>"; results.push("markup"); } catch { results.push("no markup"); }
    try {
      document.head.append(Object.assign(document.createElement("script"), { textContent: "globalThis.ran = 1" }));
    } catch { /* Trusted Types */ }
    results.push(globalThis.ran === 1 ? "script" : "no script");
    try { await fetch("http://127.0.0.1:1/"); results.push("asked"); } catch { results.push("not asked"); }
    return results;
  })()`);
  assertEquals(tried, ["no markup", "no script", "not asked"]);
});

testInBrowser(
  "says that its figures are old when the proxy has gone, and goes on when it is back",
  async () => {
    await using stage = await Stage.set();
    const page = await stage.open();
    const { port } = stage.admin;
    await stage.proxy[Symbol.asyncDispose]();
    await page.untilText("#state-text", "Stale");
    assertMatch(await page.page.locator("#stale").innerText(), /^The connection is lost, trying again/);
    stage.proxy = await startProxy({
      upstreams: [stage.one.address],
      admin: { ...ADMIN, listen: `127.0.0.1:${port}` },
    });
    await page.untilText("#state-text", "Serving");
    assertEquals(await page.page.locator(".servers tbody tr").count(), 1);
    assertEquals(await page.page.locator("#stale").isVisible(), false);
  },
);

testInBrowser("asks for a token where nobody may look without one", async () => {
  await using upstream = startUpstream();
  await using proxy = await startProxy({ upstreams: [upstream.address], admin: { ...ADMIN, read: "token" } });
  await using page = await TestPage.open(proxy.server.adminAddress!, { expected: "Not connected" });
  await page.page.getByText("This listener shows nothing without a token: unlock it.").waitFor();
  assertEquals(await page.page.locator(".servers").count(), 0);
  await page.page.getByRole("button", { name: "Unlock changes" }).click();
  await page.page.getByLabel("Token", { exact: true }).fill(TOKEN);
  await page.page.keyboard.press("Enter");
  await page.row(upstream.address).waitFor();
  await page.page.getByRole("button", { name: "tester: lock" }).click();
  await page.untilText("#state-text", "Stale");
  await page.page.getByText("This listener shows nothing without a token: unlock it.").waitFor();
});

testInBrowser("fits screens of 320 to 1920 pixels, light and dark", async () => {
  await using stage = await Stage.set(ADMIN, { limit: 100_000, cost: 12_345 });
  await stage.ask(8, "a-partner-whose-name-goes-on-and-on");
  await stage.ask(1, "me");
  await stage.admin.post("/limits/app/keys/ban", { key: "me", duration: "1h" });
  const { page: resized } = await stage.open({ viewport: { width: 1600, height: 900 } });
  await resized.locator("#workers td").first().waitFor();
  for (const width of [320, 400, 1024, 1280, 1366, 1561, 1920]) {
    await resized.setViewportSize({ width, height: 900 });
    // Charts get their width a moment later.
    // A function that the browser would poll needs eval(), which the page forbids.
    const fits = await resized.evaluate(
      `new Promise((resolve) => {
        let frames = 300;
        const check = () => {
          const fits = document.documentElement.scrollWidth === ${width};
          fits || --frames === 0 ? resolve(fits) : requestAnimationFrame(check);
        };
        check();
      })`,
    );
    assertEquals([width, fits], [width, true]);
    const beyond = await resized.evaluate(
      `[...document.querySelectorAll("#workers td")].filter((cell) =>
        cell.getBoundingClientRect().right > cell.closest(".card").getBoundingClientRect().right).length`,
    );
    // A telephone of 320 pixels scrolls this table.
    if (width > 320) assertEquals([width, beyond], [width, 0]);
  }
  await resized.close();
  const folder = Deno.env.get("LBPROXY_SCREENSHOTS");
  for (const width of [400, 1600]) {
    for (const colorScheme of ["light", "dark"] as const) {
      const { page } = await stage.open({ viewport: { width, height: 900 }, colorScheme, unlocked: true });
      await page.locator(".keys tbody tr").nth(1).waitFor();
      assertEquals(await page.evaluate("document.documentElement.scrollWidth"), width);
      assertEquals(await page.locator(".uplot canvas").count(), 3);
      const cut = await page.evaluate(
        `[...document.querySelectorAll(".keys td, .servers td, #workers td")].filter((cell) => {
        const { right, width } = cell.getBoundingClientRect();
        return width > 0 && right > cell.closest(".card, .limit, .pool").getBoundingClientRect().right;
      }).map((cell) => cell.textContent)`,
      );
      assertEquals(cut, []);
      // What went wrong at a server stands below how often, inside its column.
      const overlapping = await page.evaluate(
        `[...document.querySelectorAll(".servers td[data-label=Failed]")].filter((cell) => {
        cell.querySelector(".sub").textContent = "connection refused 5";
        return cell.scrollWidth > cell.clientWidth;
      }).length`,
      );
      assertEquals(overlapping, 0);
      if (folder !== undefined) {
        await page.screenshot({ path: `${folder}/dashboard-${width}-${colorScheme}.png`, fullPage: true });
      }
      await page.close();
    }
  }
});
