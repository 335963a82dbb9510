// The dashboard: shows the messages of /events. All text is inserted as text, never as markup.
"use strict";
(() => {
  const $ = (id) => document.getElementById(id);
  const MAX_POINTS = 600;
  const STALE_MS = 3500;

  // Small helpers

  /** Makes an element with attributes and children. */
  function el(tag, attributes = {}, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (value === undefined || value === null || value === false) continue;
      if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.filter((child) => child !== null && child !== undefined));
    return node;
  }

  function setText(node, text) {
    const wanted = String(text);
    if (node.textContent !== wanted) node.textContent = wanted;
  }

  function setClass(node, name) {
    if (node.className !== name) node.className = name;
  }

  const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
  const compact = new Intl.NumberFormat("en", { notation: "compact", maximumSignificantDigits: 3 });

  function count(value) {
    return Math.abs(value) < 1_000_000 ? whole.format(value) : compact.format(value);
  }

  function rate(value) {
    if (value === 0) return "0";
    if (value < 10) return value.toFixed(1);
    return count(value);
  }

  function duration(ms) {
    if (ms === null || ms === undefined) return "–";
    if (ms < 1) return `${ms.toFixed(2)} ms`;
    if (ms < 10) return `${ms.toFixed(1)} ms`;
    if (ms < 1000) return `${Math.round(ms)} ms`;
    if (ms < 10_000) return `${(ms / 1000).toFixed(2)} s`;
    return age(ms);
  }

  /** Formats a duration with at most two units: "3 min 12 s". */
  function age(ms) {
    const s = Math.max(0, Math.round(ms / 1000));
    if (s < 60) return `${s} s`;
    if (s < 3600) return units(s, 60, "min", 1, "s");
    if (s < 86_400) return units(s, 3600, "h", 60, "min");
    return units(s, 86_400, "d", 3600, "h");
  }

  function units(s, large, largeName, small, smallName) {
    const rest = Math.floor((s % large) / small);
    return `${Math.floor(s / large)} ${largeName}${rest === 0 ? "" : ` ${rest} ${smallName}`}`;
  }

  /** Formats a window: "per second", "per minute", "per 10 s". */
  function per(ms) {
    const name = { 1000: "second", 60_000: "minute", 3_600_000: "hour", 86_400_000: "day" }[ms];
    return `per ${name ?? age(ms)}`;
  }

  function bytes(value) {
    return value < 1024 ** 3
      ? `${Math.round(value / 1024 ** 2)} MiB`
      : `${(value / 1024 ** 3).toFixed(1)} GiB`;
  }

  function percent(share) {
    if (share > 0 && share < 0.001) return "<0.1 %";
    return `${share < 0.1 && share > 0 ? (share * 100).toFixed(1) : Math.round(share * 100)} %`;
  }

  function clockTime(text) {
    return new Date(text).toLocaleTimeString("en-GB");
  }

  /** Keeps one child per item, by key, so that an element with the focus is not replaced. */
  function syncChildren(parent, items, keyOf, make, update) {
    const known = parent.known ??= new Map();
    const wanted = new Set(items.map(keyOf));
    for (const [key, child] of known) {
      if (wanted.has(key)) continue;
      child.node.remove();
      known.delete(key);
    }
    items.forEach((item, i) => {
      const key = keyOf(item);
      let child = known.get(key);
      if (child === undefined) known.set(key, child = make(item));
      if (parent.children[i] !== child.node) parent.insertBefore(child.node, parent.children[i] ?? null);
      update(child, item);
    });
  }

  // State

  let status = null;
  let heardAt = 0;
  let connected = false;
  let lastEventId = 0;
  let owner = null;
  const history = { time: [], columns: {} };

  const store = {
    get: (name) => {
      try {
        return sessionStorage.getItem(name);
      } catch {
        return null;
      }
    },
    set: (name, value) => {
      try {
        if (value === null) sessionStorage.removeItem(name);
        else sessionStorage.setItem(name, value);
      } catch {
        // Without storage, the token is kept until the page is closed.
      }
    },
  };
  let token = store.get("token");

  function authorization() {
    return token === null ? {} : { authorization: `Bearer ${token}` };
  }

  // Theme

  const THEMES = ["auto", "light", "dark"];
  const prefersDark = matchMedia("(prefers-color-scheme: dark)");
  let theme = "auto";
  try {
    theme = localStorage.getItem("theme") ?? "auto";
  } catch {
    // Without storage, the theme is that of the system.
  }

  function applyTheme() {
    const dark = theme === "dark" || (theme === "auto" && prefersDark.matches);
    document.documentElement.dataset.theme = dark ? "dark" : "light";
    setText($("theme"), `Theme: ${theme}`);
    for (const chart of charts) chart.build();
  }

  // Charts

  function color(name) {
    return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  }

  /** A chart of the last ten minutes, with a text legend. */
  class Chart {
    constructor(id, title, series, format, options = {}) {
      this.box = $(id);
      this.title = title;
      this.series = series;
      this.format = format;
      this.options = options;
      this.values = series.map(() => el("b", {}, "–"));
      this.keys = series.map(({ label, paint }, i) => {
        const swatch = el("i");
        swatch.style.setProperty("--k", `var(${paint})`);
        return el("span", { class: "key" }, swatch, label, this.values[i]);
      });
      this.plotBox = el("div", { role: "img" });
      this.box.append(el("header", {}, el("h3", {}, title), ...this.keys), this.plotBox);
      this.plot = null;
      this.hovered = null;
      new ResizeObserver(() => this.resize()).observe(this.box);
    }

    get width() {
      return Math.max(200, this.box.clientWidth - 32);
    }

    resize() {
      if (this.plot !== null && this.plot.width !== this.width) {
        this.plot.setSize({ width: this.width, height: this.height });
      }
    }

    get height() {
      return innerWidth < 1040 ? 150 : 190;
    }

    build() {
      this.plot?.destroy();
      const { series, format } = this;
      const axis = { stroke: color("--soft"), font: "11px system-ui, sans-serif", ticks: { show: false } };
      const grid = { stroke: color("--line"), width: 1 };
      this.plot = new uPlot(
        {
          width: this.width,
          height: this.height,
          padding: [8, 16, 0, 0],
          legend: { show: false },
          cursor: { sync: { key: "all" }, points: { size: 6 }, drag: { x: false, y: false }, y: false },
          scales: {
            x: { range: () => this.span() },
            y: { range: (_, __, max) => [0, niceMax(max, this.options.least ?? 1)] },
          },
          axes: [
            {
              ...axis,
              grid: { show: false },
              size: 24,
              space: 60,
              incrs: [60, 120, 300],
              values: (_, ticks) =>
                ticks.map((at) =>
                  new Date(at * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" })
                ),
            },
            {
              ...axis,
              grid,
              size: 52,
              space: 34,
              values: (_, ticks) => ticks.map((value) => format(value, true)),
            },
          ],
          series: [
            {},
            ...series.map(({ label, paint, fill, dash, width = 1.6 }) => ({
              label,
              stroke: color(paint),
              width,
              dash,
              fill: fill ? `${color(paint)}${fill}` : undefined,
              points: { show: false },
              spanGaps: false,
            })),
          ],
          hooks: {
            setCursor: [(plot) => {
              this.hovered = plot.cursor.idx ?? null;
              this.showValues();
            }],
          },
        },
        this.data(),
        this.plotBox,
      );
      this.showValues();
    }

    /** The range of the time axis: the whole history, at most ten minutes and at least two. */
    span() {
      const end = history.time.at(-1) ?? Date.now() / 1000;
      const begin = history.time[0] ?? end;
      return [Math.min(begin, end - 120), end];
    }

    data() {
      const columns = this.series.map(({ column, stack = [] }) => {
        const own = history.columns[column] ?? [];
        if (stack.length === 0) return own;
        return own.map((value, i) =>
          stack.reduce((sum, other) => sum + (history.columns[other]?.[i] ?? 0), value ?? 0)
        );
      });
      return [history.time, ...columns];
    }

    update() {
      this.plot?.setData(this.data());
      this.showValues();
    }

    showValues() {
      const at = this.hovered ?? history.time.length - 1;
      this.series.forEach(({ column }, i) => {
        const value = history.columns[column]?.[at];
        setText(this.values[i], value === undefined || value === null ? "–" : this.format(value, false));
      });
    }

    /** Describes the chart for screen readers; rarely, so that they do not speak all the time. */
    describe() {
      const last = history.time.length - 1;
      const said = this.series.map(({ label, column }) => {
        const value = history.columns[column]?.[last];
        return `${label} ${value === undefined || value === null ? "none" : this.format(value, false)}`;
      });
      this.plotBox.setAttribute("aria-label", `${this.title}, ten minutes. Now: ${said.join(", ")}`);
    }
  }

  function niceMax(max, least) {
    const wanted = Math.max(least, (max ?? 0) * 1.08);
    const size = 10 ** Math.floor(Math.log10(wanted));
    return [1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((step) => step * size).find((step) =>
      step >= wanted
    ) ?? wanted;
  }

  const charts = [];

  function makeCharts() {
    charts.push(
      new Chart("chart-requests", "Responses a second", [
        { label: "1xx–3xx", column: "ok", stack: ["client", "server"], paint: "--c-ok", fill: "38" },
        { label: "4xx", column: "client", stack: ["server"], paint: "--c-client", fill: "60" },
        { label: "5xx", column: "server", paint: "--c-server", fill: "70" },
        { label: "refused", column: "refused", paint: "--c-refused", dash: [4, 3] },
      ], (value) => rate(value)),
      new Chart(
        "chart-latency",
        "Latency",
        [
          { label: "p50", column: "p50", paint: "--c-p50" },
          { label: "p95", column: "p95", paint: "--c-p95" },
          { label: "p99", column: "p99", paint: "--c-p99" },
        ],
        (value, onAxis) =>
          onAxis
            ? (value >= 1000 ? `${value / 1000} s` : `${Number(value.toPrecision(3))} ms`)
            : duration(value),
        { least: 0.5 },
      ),
      new Chart(
        "chart-load",
        "Requests in flight",
        [
          { label: "in flight", column: "inFlight", paint: "--c-flight", fill: "30" },
        ],
        (value) => count(value),
        { least: 4 },
      ),
    );
  }

  // Numbers

  const numbers = {};

  function makeNumbers() {
    const add = (name, label) => {
      const value = el("span", {}, "–");
      const unit = el("span", { class: "unit" });
      const sub = el("div", { class: "sub" });
      $("numbers").append(el("div", {}, el("dt", {}, label), el("dd", {}, value, unit, sub)));
      numbers[name] = (text, unitText, subText, kind = "") => {
        setText(value, text);
        setClass(value, kind);
        setText(unit, unitText);
        setText(sub, subText);
      };
    };
    add("requests", "Requests");
    add("latency", "Latency, median");
    add("slow", "Latency, 99th percentile");
    add("errors", "Server errors");
    add("refused", "Refused by limits");
    add("flight", "In flight");
    add("load", "Processor");
  }

  function splitUnit(text) {
    const [value, unit = ""] = text.split(" ");
    return [value, unit];
  }

  function showNumbers() {
    const { requests, workers, pools } = status;
    const { latency, codes } = requests;
    const total = Object.entries(requests.total);
    const sumOf = (first) =>
      total.filter(([code]) => code.startsWith(first)).reduce((sum, [, n]) => sum + n, 0);
    const servers = pools.flatMap((pool) => pool.servers);
    numbers.requests(rate(requests.perSecond), "/s", `${count(requests.arrived)} since the start`);
    numbers.latency(...splitUnit(duration(latency?.p50Ms ?? null)), "half are faster");
    numbers.slow(...splitUnit(duration(latency?.p99Ms ?? null)), `95th ${duration(latency?.p95Ms ?? null)}`);
    const failing = codes["5xx"] ?? 0;
    numbers.errors(rate(failing), "/s", `${count(sumOf("5"))} since the start`, failing > 0 ? "bad" : "");
    const refused = status.limits.reduce(
      (sum, { decisions }) => sum + (decisions.refused ?? 0) + (decisions.banned ?? 0),
      0,
    );
    numbers.refused(
      rate(requests.refused),
      "/s",
      status.limits.length === 0 ? "no limits" : `${count(refused)} since the start`,
    );
    const waiting = pools.reduce((sum, pool) => sum + pool.waiting, 0);
    const up = pools.reduce((sum, pool) => sum + pool.available, 0);
    numbers.flight(
      count(requests.inFlight),
      "",
      `${up} of ${servers.length} servers up, ${count(waiting)} waiting`,
    );
    const memory = workers.reduce((sum, { rssBytes }) => sum + (rssBytes ?? 0), 0);
    const late = Math.max(...workers.map(({ loopDelayMs }) => loopDelayMs));
    const cpu = workers.reduce((sum, each) => sum + each.cpu, 0);
    numbers.load(
      ...splitUnit(percent(cpu)),
      `${bytes(memory)}, loop ${duration(late)} late`,
    );
  }

  // Pools

  const STATES = {
    up: ["ok", "Up"],
    full: ["warn", "Full"],
    recovering: ["warn", "Recovering"],
    checking: ["idle", "Checking"],
    unhealthy: ["bad", "Down"],
    ejected: ["bad", "Ejected"],
    draining: ["idle", "Draining"],
    disabled: ["idle", "Disabled"],
    leaving: ["idle", "Leaving"],
  };

  const COLUMNS = [
    ["State", "w-state"],
    ["Server", ""],
    ["Weight", "num w-small"],
    ["In flight", "num w-mid"],
    ["Requests", "num w-mid"],
    ["p50", "num hide-mid w-mid"],
    ["p95", "num hide-mid w-mid"],
    ["p99", "num w-mid"],
    ["2xx", "num hide-mid w-mid"],
    ["4xx", "num hide-mid w-small"],
    ["5xx", "num hide-mid w-small"],
    ["Failed", "num w-wide"],
    ["Last check", "w-check"],
  ];

  function makePool({ name }) {
    const title = el("h3", {}, name);
    const state = el(
      "span",
      { class: "pill" },
      el("span", { class: "mark", "aria-hidden": "true" }),
      el("span"),
    );
    const sum = el("span", { class: "sum" });
    const rows = el("tbody", { role: "rowgroup" });
    const act = el("th", { scope: "col", role: "columnheader", class: "num" });
    const table = el(
      "table",
      { class: "servers", role: "table", "aria-label": `Servers of the pool ${name}` },
      el(
        "thead",
        { role: "rowgroup" },
        el(
          "tr",
          { role: "row" },
          ...COLUMNS.map(([label, kind]) =>
            el("th", { scope: "col", role: "columnheader", class: kind }, label)
          ),
          act,
        ),
      ),
      rows,
    );
    const empty = el("p", { class: "empty" }, "This pool has no servers.");
    return {
      node: el("article", { class: "pool" }, el("header", {}, title, state, sum), table, empty),
      state,
      sum,
      rows,
      act,
      table,
      empty,
    };
  }

  function updatePool(view, pool) {
    const total = pool.servers.length;
    const [kind, words] = pool.panic
      ? ["bad", "Panic: too few are up, so all are used"]
      : pool.available === 0
      ? ["bad", "No server"]
      : pool.available < total
      ? ["warn", `${pool.available} of ${total} up`]
      : ["ok", total === 1 ? "Up" : `All ${total} up`];
    setClass(view.state, `pill ${kind}`);
    setText(view.state.lastChild, words);
    setText(
      view.sum,
      `${rate(pool.perSecond)} requests/s · ${count(pool.inFlight)} in flight · ${
        count(pool.waiting)
      } waiting`,
    );
    view.table.hidden = total === 0;
    view.empty.hidden = total > 0;
    setText(view.act, owner === null ? "" : "Actions");
    setClass(view.act, owner === null ? "w-none" : "num w-act");
    syncChildren(
      view.rows,
      pool.servers,
      (server) => server.address,
      (server) => makeServer(pool, server),
      updateServer,
    );
  }

  function makeServer({ name }, { address }) {
    const cells = {};
    const cell = (key, kind, label, ...children) =>
      cells[key] = el("td", { class: kind, role: "cell", "data-label": label }, ...children);
    const state = el(
      "span",
      { class: "pill" },
      el("span", { class: "mark", "aria-hidden": "true" }),
      el("span"),
    );
    const since = el("span", { class: "sub" });
    const tags = el("span");
    const why = el("span", { class: "sub why" });
    const weight = el("span");
    const ramp = el("span", { class: "sub" });
    const requests = el("span");
    const failed = el("span");
    const reasons = el("span", { class: "sub" });
    const check = el("span");
    const checked = el("span", { class: "sub" });
    cell("state", "state", null, state, since);
    cell("who", "who", null, el("span", { class: "address" }, address), " ", tags, why);
    cell("weight", "num", "Weight", weight, ramp);
    cell("inFlight", "num", "In flight");
    cell("requests", "num", "Requests", requests);
    cell("p50", "num hide-mid", "p50");
    cell("p95", "num hide-mid", "p95");
    cell("p99", "num", "p99");
    cell("ok", "num hide-mid", "2xx");
    cell("client", "num hide-mid", "4xx");
    cell("server", "num hide-mid", "5xx");
    cell("failed", "num", "Failed", failed, reasons);
    cell("check", "why", "Last check", check, checked);
    cell("do", "num do", null);
    const node = el("tr", { role: "row" }, ...Object.values(cells));
    return {
      node,
      pool: name,
      address,
      cells,
      state,
      since,
      tags,
      why,
      weight,
      ramp,
      requests,
      failed,
      reasons,
      check,
      checked,
      actions: null,
    };
  }

  function updateServer(view, server) {
    const now = Date.parse(status.time);
    const [kind, words] = STATES[server.state];
    const { cells } = view;
    setClass(view.node, `row-${kind}`);
    setClass(cells.state, `state ${kind}`);
    setClass(view.state, `pill ${kind}`);
    setText(view.state.lastChild, words);
    setText(view.since, `for ${age(now - Date.parse(server.since))}`);
    setText(view.why, server.reason ?? "");
    const tags = [...(server.backup ? ["backup"] : []), ...server.tags];
    if (view.tags.dataset.tags !== tags.join("\n")) {
      view.tags.dataset.tags = tags.join("\n");
      view.tags.replaceChildren(...tags.map((tag) => el("span", { class: "tag" }, tag)));
    }
    setText(view.weight, count(server.weight));
    setText(
      view.ramp,
      server.effectiveWeight === server.weight ? "" : `now ${server.effectiveWeight.toFixed(2)}`,
    );
    setText(
      cells.inFlight,
      server.maxInFlight === null
        ? count(server.inFlight)
        : `${count(server.inFlight)} of ${count(server.maxInFlight)}`,
    );
    setText(view.requests, `${rate(server.perSecond)}/s`);
    const { latency, codes, errors } = server;
    setText(cells.p50, duration(latency?.p50Ms ?? null));
    setText(cells.p95, duration(latency?.p95Ms ?? null));
    setText(cells.p99, duration(latency?.p99Ms ?? null));
    setText(cells.ok, count(codes["2xx"] ?? 0));
    setText(cells.client, count(codes["4xx"] ?? 0));
    setText(cells.server, count(codes["5xx"] ?? 0));
    const reasons = Object.entries(errors).sort(([, one], [, other]) => other - one);
    setText(view.failed, count(server.failures));
    setClass(view.failed, server.failuresPerSecond > 0 ? "bad" : "");
    setText(
      view.reasons,
      reasons.length === 0 ? "" : `${reasons[0][0].replaceAll("_", " ")} ${count(reasons[0][1])}`,
    );
    view.reasons.title = reasons.map(([reason, n]) => `${reason.replaceAll("_", " ")}: ${n}`).join("\n");
    const last = server.lastCheck;
    setText(
      view.check,
      last === null
        ? "not checked"
        : last.passed
        ? `Passed in ${duration(last.durationMs)}`
        : `Failed: ${last.text}`,
    );
    setClass(view.check, last === null ? "muted" : last.passed ? "" : "bad");
    setText(view.checked, last === null ? "" : `${age(now - Date.parse(last.at))} ago`);
    updateActions(view, server);
  }

  function updateActions(view, server) {
    if (owner === null || server.state === "leaving") {
      view.actions?.node.remove();
      view.actions = null;
      return;
    }
    view.actions ??= makeActions(view);
    const { toggle, weight } = view.actions;
    const out = server.state === "draining" || server.state === "disabled";
    setText(toggle, out ? "Ready" : "Drain");
    toggle.setAttribute("aria-label", `${out ? "Ready" : "Drain"} ${server.address}`);
    toggle.dataset.action = out ? "ready" : "drain";
    if (document.activeElement !== weight && weight.dataset.sent === undefined) {
      weight.value = String(server.weight);
    }
  }

  function makeActions(view) {
    const path = `/pools/${encodeURIComponent(view.pool)}/servers/${encodeURIComponent(view.address)}`;
    const toggle = el("button", {
      type: "button",
      class: "small",
      onclick: () => drainOrReady(view, path, toggle.dataset.action),
    });
    const weight = el("input", {
      type: "number",
      class: "weight",
      min: "0",
      max: "65535",
      step: "any",
      "aria-label": `Weight of ${view.address}`,
      title: "Weight: change it and press Enter",
    });
    weight.addEventListener("change", async () => {
      weight.dataset.sent = "";
      await change(`${path}/weight`, { weight: weight.valueAsNumber });
      delete weight.dataset.sent;
    });
    const remove = el("button", {
      type: "button",
      class: "small",
      "aria-label": `Remove ${view.address}`,
      onclick: () =>
        ask({
          title: `Remove ${view.address}?`,
          text:
            `It finishes its requests and leaves the pool ${view.pool}, until the configuration is loaded again.`,
          ok: "Remove",
          then: () => change(`${path}/remove`, {}),
        }),
    }, "Remove");
    const node = el("div", { class: "actions" }, weight, toggle, remove);
    view.cells.do.append(node);
    return { node, toggle, weight };
  }

  function drainOrReady({ pool, address }, path, action) {
    const { servers } = status.pools.find(({ name }) => name === pool);
    const others = servers.some((server) =>
      server.address !== address && ["up", "full", "recovering"].includes(server.state)
    );
    if (action === "ready" || others) return change(`${path}/${action}`, {});
    ask({
      title: `Drain the last server of ${pool}?`,
      text: `No other server of the pool is up: clients get 503 until one is.`,
      ok: "Drain",
      then: () => change(`${path}/drain`, {}),
    });
  }

  // Limits

  function makeLimit({ name }) {
    const scope = el("span", { class: "tag" });
    const rule = el("p", { class: "rule" });
    const rates = el("p", { class: "rates" });
    const rows = el("tbody");
    const table = el(
      "table",
      { class: "keys", "aria-label": `Keys of ${name} that have used most` },
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          el("th", { scope: "col" }, "Hottest keys"),
          el("th", { scope: "col", class: "num" }, "Used"),
          el("th", { scope: "col" }, el("span", { class: "hidden" }, "Share")),
          el("th", { scope: "col", class: "num hide-small" }, "Resets in"),
          el("th", { scope: "col" }, el("span", { class: "hidden" }, "Actions")),
        ),
      ),
      rows,
    );
    const empty = el("p", { class: "empty" }, "No key has used a tenth of its limit.");
    const node = el(
      "article",
      { class: "limit" },
      el("header", {}, el("h3", {}, name, " ", scope), rates, rule),
      table,
      empty,
    );
    return { node, name, scope, rule, rates, rows, table, empty };
  }

  const ALGORITHMS = {
    "fixed-window": "fixed window",
    "sliding-window": "sliding window",
    "token-bucket": "token bucket",
    concurrency: "at once",
  };

  function updateLimit(view, limit) {
    const amount = limit.limit === null ? "A limit by function" : `${count(limit.limit)}`;
    const window = limit.algorithm === "concurrency"
      ? "at once"
      : `${per(limit.windowMs)}, ${ALGORITHMS[limit.algorithm]}`;
    setText(
      view.rule,
      `${amount} ${window}, for each ${limit.key}${limit.dryRun ? "; dry run: refuses nobody" : ""}`,
    );
    view.scope.hidden = limit.scope === "";
    setText(view.scope, `route ${limit.scope}`);
    const { perSecond, decisions } = limit;
    const refused = (perSecond.refused ?? 0) + (perSecond.banned ?? 0) + (perSecond.would_refuse ?? 0);
    const all = (decisions.refused ?? 0) + (decisions.banned ?? 0) + (decisions.would_refuse ?? 0);
    const text = `${rate(perSecond.allowed ?? 0)} allowed/s, ${rate(refused)} ${
      limit.dryRun ? "would be refused" : "refused"
    }/s`;
    if (view.rates.dataset.text !== text + all) {
      view.rates.dataset.text = text + all;
      view.rates.replaceChildren(
        el("b", {}, text),
        el("br"),
        `${count(decisions.allowed ?? 0)} and ${count(all)} since the start`,
      );
    }
    view.table.hidden = limit.hottest.length === 0;
    view.empty.hidden = limit.hottest.length > 0;
    syncChildren(view.rows, limit.hottest, (key) => key.key, (key) => makeKey(view, key), updateKey);
  }

  function makeKey(view, { key }) {
    const used = el("td", { class: "num" });
    const fill = el("span");
    const bar = el("div", { class: "bar", "aria-hidden": "true" }, fill);
    const reset = el("td", { class: "num muted hide-small" });
    const act = el("td", { class: "num" });
    const shown = key === "" ? "(empty)" : key.length > 120 ? `${key.slice(0, 120)}…` : key;
    const node = el("tr", {}, el("td", { class: "name" }, shown), used, el("td", {}, bar), reset, act);
    return { node, key, policy: view.name, used, fill, bar, reset, act, button: null };
  }

  function updateKey(view, key) {
    const share = Math.min(1, key.share);
    const kind = key.bannedMs > 0 || share >= 1 ? "bad" : share >= 0.8 ? "warn" : "";
    setText(view.used, `${count(key.used)} of ${count(key.limit)}`);
    view.fill.style.width = `${Math.round(share * 100)}%`;
    setClass(view.bar, `bar ${kind}`);
    setText(
      view.reset,
      key.bannedMs > 0
        ? `banned for ${age(key.bannedMs)}`
        : key.resetMs === null
        ? ""
        : duration(key.resetMs),
    );
    if (owner === null) {
      view.button?.remove();
      view.button = null;
      return;
    }
    if (view.button === null) {
      view.button = el("button", { type: "button", class: "small", onclick: () => banOrReset(view) });
      view.act.append(view.button);
    }
    const action = key.bannedMs > 0 ? "Lift ban" : "Ban";
    view.button.dataset.action = action;
    setText(view.button, action);
    view.button.setAttribute("aria-label", `${action} ${view.key.slice(0, 60)}`);
  }

  function banOrReset(view) {
    const path = `/limits/${encodeURIComponent(view.policy)}/keys`;
    if (view.button.dataset.action !== "Ban") return change(`${path}/reset`, { key: view.key });
    const select = el(
      "select",
      { id: "ban-duration" },
      ...[["10 minutes", "10m"], ["1 hour", "1h"], ["1 day", "24h"], ["7 days", "168h"]].map((
        [text, value],
      ) => el("option", { value }, text)),
    );
    ask({
      title: "Ban this key?",
      text: view.key,
      field: [el("label", { for: "ban-duration" }, "For how long"), select],
      ok: "Ban",
      then: () => change(`${path}/ban`, { key: view.key, duration: select.value }),
    });
  }

  // Events, configuration, workers

  const LEVELS = { debug: "idle", info: "idle", warn: "warn", error: "bad" };
  const logged = new Set();

  function addLog(event) {
    lastEventId = Math.max(lastEventId, event.id);
    if (logged.has(event.id)) return;
    logged.add(event.id);
    const kind = LEVELS[event.level] ?? "idle";
    const node = el(
      "li",
      {},
      el("time", { datetime: event.time, title: event.time }, clockTime(event.time)),
      el(
        "span",
        { class: `level ${kind}` },
        el("span", { class: "mark", "aria-hidden": "true" }),
        event.level,
      ),
      el("span", { class: "what" }, event.message),
    );
    $("log").prepend(node);
    while ($("log").children.length > 200) $("log").lastChild.remove();
    // Old events are not announced by screen readers.
    if (
      kind !== "idle" && connected && status !== null &&
      Date.parse(event.time) > Date.parse(status.time) - 5000
    ) {
      setText($("announce"), event.message);
    }
  }

  function setPairs(list, pairs) {
    syncChildren(
      list,
      pairs.flatMap((
        [name, value],
      ) => [{ key: `${name} name`, tag: "dt", text: name }, { key: name, tag: "dd", text: value }]),
      ({ key }) => key,
      ({ tag }) => ({ node: el(tag) }),
      ({ node }, { text }) => setText(node, text),
    );
  }

  let configOf = null;

  function showConfiguration() {
    const { configuration, addresses, logLevel, time } = status;
    const { source, hash, generation, loadedAt, lastReload } = configuration;
    setPairs($("config"), [
      ["Listens at", addresses.join(", ") || "nowhere yet"],
      ...(source === null ? [] : [["Source", source]]),
      ["Generation", `${generation}, loaded ${age(Date.parse(time) - Date.parse(loadedAt))} ago`],
      ["Digest", hash.slice(0, 16)],
      [
        "Last reload",
        lastReload === null
          ? "none"
          : `${clockTime(lastReload.at)} ${lastReload.applied ? "applied" : "rejected"}${
            lastReload.message === "" ? "" : `: ${lastReload.message}`
          }`,
      ],
      ...(logLevel === null ? [] : [["Log level", logLevel]]),
    ]);
    if ($("config-details").open) showConfigText();
  }

  async function showConfigText() {
    const { generation } = status.configuration;
    if (configOf === generation) return;
    configOf = generation;
    try {
      const response = await fetch("/config", { headers: authorization() });
      setText(
        $("config-text"),
        response.ok ? (await response.json()).text : `It cannot be shown: status ${response.status}`,
      );
    } catch {
      configOf = null;
    }
  }

  function showWorkers() {
    const box = $("workers");
    box.rows ??= (() => {
      const rows = el("tbody");
      const head = ["Process", "Up", "Requests", "In flight", "Processor", "Memory", "Late by", "Replaced"];
      box.append(
        el(
          "table",
          {},
          el(
            "thead",
            {},
            el(
              "tr",
              {},
              ...head.map((label, i) => el("th", { scope: "col", class: i > 0 ? "num" : null }, label)),
            ),
          ),
          rows,
        ),
      );
      return rows;
    })();
    syncChildren(box.rows, status.workers, ({ id }) => id, () => {
      const name = el("div");
      const sub = el("div", { class: "sub" });
      const numbers = Array.from({ length: 7 }, () => el("td", { class: "num" }));
      return { node: el("tr", {}, el("td", {}, name, sub), ...numbers), cells: [name, sub, ...numbers] };
    }, ({ cells }, worker) => {
      const texts = [
        `${worker.role === "worker" ? `worker ${worker.id}` : worker.role}${
          worker.state === "serving" ? "" : `, ${worker.state}`
        }`,
        `pid ${worker.pid}`,
        age(worker.uptimeMs),
        worker.requests === null ? "\u2013" : count(worker.requests),
        count(worker.inFlight),
        percent(worker.cpu),
        worker.rssBytes === null ? "\u2013" : bytes(worker.rssBytes),
        duration(worker.loopDelayMs),
        count(worker.restarts),
      ];
      texts.forEach((text, i) => setText(cells[i], text));
    });
  }

  // The whole

  function show() {
    const { version, uptimeMs, addresses, limits, table, pools } = status;
    setText(
      $("facts"),
      `${addresses.join(", ") || "not listening"} · up ${age(uptimeMs)} · version ${version}`,
    );
    document.title = `${pools.some((pool) => pool.available === 0) ? "! " : ""}lbproxy ${
      rate(status.requests.perSecond)
    }/s`;
    showNumbers();
    syncChildren($("pools"), pools, ({ name }) => name, makePool, updatePool);
    $("limits-section").hidden = limits.length === 0;
    syncChildren($("limits"), limits, ({ name, scope }) => `${scope}\n${name}`, makeLimit, updateLimit);
    setText(
      $("table-fill"),
      table === null
        ? ""
        : `${count(table.keys)} ${table.keys === 1 ? "key is" : "keys are"} counted, ${
          percent(table.keys / table.capacity)
        } of the table of ${count(table.capacity)}`,
    );
    showConfiguration();
    showWorkers();
    showState();
  }

  function showState() {
    const quietMs = Date.now() - heardAt;
    const old = status !== null && (!connected || quietMs > STALE_MS);
    const [kind, words] = status === null
      ? connected ? ["idle", "Connecting"] : ["bad", "Not connected"]
      : old
      ? ["warn", "Stale"]
      : status.state === "stopping"
      ? ["warn", "Stopping"]
      : status.state === "starting"
      ? ["idle", "Starting"]
      : status.ready
      ? ["ok", "Serving"]
      : ["bad", "Not ready"];
    setClass($("state"), `pill ${kind}`);
    setText($("state-text"), words);
    document.body.classList.toggle("old", old);
    $("stale").hidden = !old && !needsToken;
    if (needsToken) setText($("stale"), "This listener shows nothing without a token: unlock it.");
    else if (old && connected) {
      setText($("stale"), `Nothing has come for ${age(quietMs)}: the figures are old.`);
    } else if (old) {
      setText($("stale"), `The connection is lost, trying again. The figures are ${age(quietMs)} old.`);
    }
  }

  function takeHistory({ time, columns }) {
    history.time = time;
    history.columns = columns;
    for (const chart of charts) {
      chart.update();
      chart.describe();
    }
  }

  let pointAt = "";

  function addPoint() {
    const { requests, time, workers } = status;
    // A status between two seconds has the figures of the last second.
    if (Date.parse(time) - Date.parse(pointAt || 0) < 900) return;
    pointAt = time;
    const { codes, latency } = requests;
    const point = {
      ok: (codes["1xx"] ?? 0) + (codes["2xx"] ?? 0) + (codes["3xx"] ?? 0),
      client: codes["4xx"] ?? 0,
      server: codes["5xx"] ?? 0,
      refused: requests.refused,
      p50: latency?.p50Ms ?? null,
      p95: latency?.p95Ms ?? null,
      p99: latency?.p99Ms ?? null,
      inFlight: requests.inFlight,
      perSecond: requests.perSecond,
      cpu: workers.reduce((sum, { cpu }) => sum + cpu, 0),
    };
    history.time.push(Date.parse(time) / 1000);
    for (const [name, value] of Object.entries(point)) (history.columns[name] ??= []).push(value);
    if (history.time.length > MAX_POINTS) {
      history.time.shift();
      for (const column of Object.values(history.columns)) column.shift();
    }
    for (const chart of charts) chart.update();
    if (history.time.length % 10 === 0) { for (const chart of charts) chart.describe(); }
  }

  function take(event, data) {
    if (event === "history") takeHistory(data);
    else if (event === "log") addLog(data);
    else if (event === "status") {
      status = data;
      heardAt = Date.now();
      show();
      addPoint();
    }
  }

  // Connection: by fetch and not by EventSource, which cannot send a token

  let needsToken = false;
  let stream = null;

  async function connect() {
    for (let failures = 0;;) {
      try {
        stream = new AbortController();
        const headers = { ...authorization(), "last-event-id": String(lastEventId) };
        const response = await fetch("/events", { headers, signal: stream.signal });
        if (response.status === 401) {
          needsToken = true;
          if (token !== null) setToken(null, null);
          showState();
          await new Promise((resolve) => onToken = resolve);
          continue;
        }
        if (!response.ok) throw new Error(`status ${response.status}`);
        needsToken = false;
        connected = true;
        failures = 0;
        await read(response.body.getReader());
      } catch {
        // The connection is retried below.
      }
      connected = false;
      showState();
      failures++;
      await new Promise((resolve) => setTimeout(resolve, Math.min(5000, 500 * failures)));
    }
  }

  async function read(reader) {
    const decoder = new TextDecoder();
    let text = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += decoder.decode(value, { stream: true });
      for (let end = text.indexOf("\n\n"); end >= 0; end = text.indexOf("\n\n")) {
        const lines = text.slice(0, end).split("\n");
        text = text.slice(end + 2);
        const field = (name) => lines.find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
        const event = field("event");
        if (event !== undefined) take(event, JSON.parse(field("data")));
      }
    }
  }

  // Changes

  let onToken = () => {};

  function setToken(value, name) {
    token = value;
    owner = name;
    store.set("token", value);
    setText($("unlock"), name === null ? "Unlock changes" : `${name}: lock`);
    $("unlock").classList.toggle("primary", name === null);
    if (status !== null) show();
  }

  async function ownerOf(candidate) {
    const response = await fetch("/whoami", { headers: { authorization: `Bearer ${candidate}` } });
    return response.ok ? (await response.json()).owner : null;
  }

  let toastTimer;

  function toast(text, bad) {
    const box = $("toast");
    setText(box, text);
    setClass(box, `toast shown${bad ? " bad" : ""}`);
    clearTimeout(toastTimer);
    toastTimer = setTimeout(() => setClass(box, `toast${bad ? " bad" : ""}`), bad ? 8000 : 4000);
  }

  async function change(path, body) {
    try {
      const response = await fetch(path, {
        method: "POST",
        headers: { ...authorization(), "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      const answer = await response.json();
      toast(
        response.ok ? `Done: ${answer.done}` : answer.detail ?? `Status ${response.status}`,
        !response.ok,
      );
      if (response.status === 401) setToken(null, null);
    } catch {
      toast("The proxy could not be reached", true);
    }
  }

  function ask({ title, text, field = [], ok, then }) {
    setText($("ask-title"), title);
    setText($("ask-text"), text);
    $("ask-field").replaceChildren(...field);
    setText($("ask-ok"), ok);
    const dialog = $("ask-dialog");
    dialog.querySelector("form").onsubmit = () => then();
    dialog.showModal();
  }

  function listen() {
    $("theme").addEventListener("click", () => {
      theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
      try {
        localStorage.setItem("theme", theme);
      } catch {
        // Without storage, the theme is kept until the page is closed.
      }
      applyTheme();
    });
    prefersDark.addEventListener("change", applyTheme);
    $("unlock").addEventListener("click", () => {
      if (owner !== null) {
        setToken(null, null);
        // From now on, show only what is sent without a token.
        stream?.abort();
        return;
      }
      setText($("token-error"), "");
      $("token").value = "";
      $("token-dialog").showModal();
      $("token").focus();
    });
    $("token-cancel").addEventListener("click", () => $("token-dialog").close());
    $("ask-cancel").addEventListener("click", () => $("ask-dialog").close());
    $("token-dialog").querySelector("form").addEventListener("submit", async (event) => {
      event.preventDefault();
      const candidate = $("token").value.trim();
      const name = /^[\x21-\x7e]+$/.test(candidate) ? await ownerOf(candidate).catch(() => null) : null;
      if (name === null) return setText($("token-error"), "This is none of the tokens in admin.tokens.");
      $("token-dialog").close();
      setToken(candidate, name);
      onToken();
    });
    $("config-details").addEventListener("toggle", () => {
      if ($("config-details").open && status !== null) showConfigText();
    });
    setInterval(showState, 1000);
  }

  makeNumbers();
  makeCharts();
  applyTheme();
  listen();
  if (token !== null) {
    ownerOf(token).then((name) => setToken(name === null ? null : token, name)).catch(() => {});
  }
  connect();
})();
