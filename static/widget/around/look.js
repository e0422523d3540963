// @ts-check
/**
 * How the bubble and the panel look. It stands in a shadow root, and what must hold on any page is `!important`: there
 * it wins over whatever the page around says of our element.
 */

/** Where the panel is the whole screen. */
export const NARROW = "(max-width: 480px), (max-height: 420px)";

const COLOURS = `
.widget {
  --accent: light-dark(#0f766e, #4fd1bf); --ink: light-dark(#fff, #07211d); --paper: light-dark(#fff, #141716);
  --text: light-dark(#1a1e1c, #e8ebe9); --line: light-dark(#e3e6e4, #2b302e);
  color: var(--text); font: 15px/1.5 system-ui, sans-serif;
}
@supports not (color: light-dark(#fff, #000)) {
  .widget { --accent: #0f766e; --ink: #fff; --paper: #fff; --text: #1a1e1c; --line: #e3e6e4; }
}
.light { color-scheme: light; }
.dark { color-scheme: dark; }
`;

const BUBBLE = `
.bubble {
  position: fixed; z-index: 1; right: max(20px, env(safe-area-inset-right));
  bottom: max(20px, env(safe-area-inset-bottom)); display: grid; place-items: center; width: 56px; height: 56px;
  padding: 0; border: 0; border-radius: 50%; background: var(--accent); color: var(--ink); cursor: pointer;
  box-shadow: 0 2px 6px rgb(16 24 20 / 18%), 0 8px 24px rgb(16 24 20 / 18%);
  transition: transform .15s ease, filter .15s ease;
  -webkit-tap-highlight-color: transparent; touch-action: manipulation;
}
.bubble:hover { filter: brightness(1.08); transform: translateY(-1px); }
.bubble:active { transform: none; }
/* Two rings, light and dark: one of them is seen on any page. */
.bubble:focus-visible { outline: 3px solid #fff; outline-offset: 0; box-shadow: 0 0 0 6px #10201c; }
.bubble svg {
  grid-area: 1 / 1; width: 26px; height: 26px; fill: none; stroke: currentColor; stroke-width: 1.7;
  stroke-linecap: round; stroke-linejoin: round; transition: opacity .15s ease, transform .15s ease;
}
.bubble[aria-expanded="false"] .down, .bubble[aria-expanded="true"] .talk { opacity: 0; transform: scale(.6); }
.unread {
  position: absolute; top: -3px; right: -3px; min-width: 20px; height: 20px; padding: 0 5px; border-radius: 10px;
  background: #b42318; box-shadow: 0 0 0 2px var(--paper); color: #fff; font: 700 11px/20px system-ui, sans-serif;
  text-align: center;
}
`;

const PANEL = `
.panel {
  position: fixed; inset: auto max(20px, env(safe-area-inset-right))
  calc(max(20px, env(safe-area-inset-bottom)) + 70px) auto; width: 400px; max-width: calc(100vw - 40px);
  height: min(660px, calc(100vh - 110px)); height: min(660px, calc(100dvh - 110px)); max-height: none; margin: 0;
  padding: 0; overflow: hidden; border: 1px solid var(--line); border-radius: 18px; background: var(--paper);
  color: var(--text); box-shadow: 0 4px 12px rgb(16 24 20 / 10%), 0 16px 48px rgb(16 24 20 / 22%);
}
.panel[open] { display: block; animation: rise .18s ease-out; }
.panel:focus-visible { outline: 0; }
.panel::backdrop { background: none; }
.left .bubble { right: auto; left: max(20px, env(safe-area-inset-left)); }
.left .panel { right: auto; left: max(20px, env(safe-area-inset-left)); }
iframe { position: absolute; inset: 0; display: block; width: 100%; height: 100%; border: 0; }
iframe:not(.ready) { visibility: hidden; }
@keyframes rise { from { opacity: 0; transform: translateY(10px); } }
@media ${NARROW} {
  .panel, .left .panel {
    inset: var(--top, 0) 0 auto 0; width: 100%; max-width: none; height: 100vh; height: var(--height, 100dvh);
    border: 0; border-radius: 0;
  }
  .bubble[aria-expanded="true"] { display: none; }
}
`;

const NOTICE = `
.notice {
  position: absolute; inset: 0; display: flex; flex-direction: column; align-items: center; justify-content: center;
  gap: 14px; padding: 24px; text-align: center;
}
.notice p { margin: 0; }
.choices { display: flex; flex-wrap: wrap; gap: 8px; justify-content: center; }
.notice button {
  min-height: 40px; padding: 6px 16px; border: 1px solid var(--line); border-radius: 10px; background: none;
  color: inherit; font: inherit; cursor: pointer;
}
.notice button:focus-visible { outline: 2px solid var(--text); outline-offset: 2px; }
.notice.failed .wait, .notice:not(.failed) .why, .notice:not(.failed) .choices { display: none; }
.wait {
  width: 26px; height: 26px; border: 3px solid var(--line); border-top-color: var(--accent); border-radius: 50%;
  animation: turn 1s linear infinite;
}
.spoken { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@keyframes turn { to { transform: rotate(1turn); } }
`;

/** All of it. */
export const LOOK = `
:host {
  all: initial !important; position: fixed !important; z-index: 2147483647 !important; inset: auto !important;
  display: block !important; width: 0 !important; height: 0 !important; overflow: visible !important;
  color-scheme: light dark !important; direction: ltr !important;
}
:host::backdrop { display: none !important; }
[hidden] { display: none !important; }
* { box-sizing: border-box; }
${COLOURS}${BUBBLE}${PANEL}${NOTICE}
@media (prefers-reduced-motion: reduce) { * { animation: none !important; transition: none !important; } }
@media (forced-colors: active) { .bubble, .panel { border: 2px solid ButtonText; } }
@media print { :host { display: none !important; } }
`;
