import { assertEquals } from "@std/assert";
import { writeMetrics } from "../../../lib/observe/exposition.ts";

Deno.test("writeMetrics() writes the text format, with labels escaped and empty metrics left out", () => {
  assertEquals(
    writeMetrics([
      { name: "a_total", help: "As.", type: "counter", samples: [{ labels: {}, value: 3 }] },
      { name: "b", help: "Bs.", type: "gauge", samples: [] },
      {
        name: "c",
        help: "Cs.",
        type: "gauge",
        samples: [{ labels: { x: 'q"\\\n', y: "" }, value: 0.5 }, { labels: { x: "2" }, value: 0 }],
      },
    ]),
    "# HELP a_total As.\n# TYPE a_total counter\na_total 3\n" +
      '# HELP c Cs.\n# TYPE c gauge\nc{x="q\\"\\\\\\n",y=""} 0.5\nc{x="2"} 0\n',
  );
});
