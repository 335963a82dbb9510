/** The files of the dashboard. They are part of the program, so nothing is read or fetched at run time. */

import css from "./page/dashboard.css" with { type: "text" };
import html from "./page/dashboard.html" with { type: "text" };
import script from "./page/dashboard.js" with { type: "text" };
import chartCss from "uplot/dist/uPlot.min.css" with { type: "text" };
import charts from "uplot/dist/uPlot.iife.min.js" with { type: "text" };

/** One file. */
interface PageFile {
  readonly path: string;
  readonly type: string;
  readonly text: string;
}

const CSS = "text/css; charset=utf-8";
const SCRIPT = "text/javascript; charset=utf-8";

/** All files that the page needs. */
export const PAGE_FILES: readonly PageFile[] = [
  { path: "/", type: "text/html; charset=utf-8", text: html },
  { path: "/dashboard.css", type: CSS, text: css },
  { path: "/dashboard.js", type: SCRIPT, text: script },
  { path: "/uplot.css", type: CSS, text: chartCss },
  { path: "/uplot.js", type: SCRIPT, text: charts },
];

/**
 * Content security policy of the page: only its own scripts, styles and requests to its own server. Scripts cannot turn text
 * into markup (`require-trusted-types-for`).
 */
export const PAGE_POLICY: string = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "connect-src 'self'",
  "img-src 'self' data:",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
  "trusted-types 'none'",
].join("; ");
