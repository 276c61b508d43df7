"""Names that are markup and scripts, as a stranger's data may have."""

HOSTILE = (
    "</script><script>window.hacked = 1</script>",
    '"><img src=x onerror="window.hacked = 1">',
    "<!--data--><!--script-->",
    "javascript:window.hacked=1",
    "${window.hacked = 1}",
    "\u2028\u2029';window.hacked=1;'",
)
