std = "lua51"
read_globals = { "redis", "KEYS", "ARGV" }
max_line_length = 130
-- "not (x <= y)" stands where a NaN must not pass.
ignore = { "581" }
