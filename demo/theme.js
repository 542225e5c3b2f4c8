/* Sets the theme that the visitor chose last time. It runs before anything is painted, so that nothing flashes. Storage may be blocked. */
try {
  document.documentElement.dataset.theme = localStorage.getItem('theme') ?? '';
} catch {}
