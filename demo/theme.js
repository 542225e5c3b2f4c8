/* Before anything is painted, so that nothing flashes: the theme that the visitor chose last time. Storage may be blocked. */
try {
  document.documentElement.dataset.theme = localStorage.getItem('theme') ?? '';
} catch {}
