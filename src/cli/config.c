/* `inline config`: the settings in force. */
#include "base/buf.h"
#include "cli/cli.h"

#define REPORT_LIMIT 65536

int cli_config(int argc, char **argv, const struct settings *s)
{
    bool is_json = false, is_markdown = false;
    const struct cli_option options[] = {
        {"json", CLI_FLAG, &is_json, 0, 0}, {"markdown", CLI_FLAG, &is_markdown, 0, 0}, {0}};
    int n_args;
    if (!cli_parse(argc, argv, options, &n_args)) return CLI_USAGE;
    if (n_args > 0) return cli_usage_error("config takes no arguments, only --json or --markdown");
    struct buf out;
    buf_init(&out, REPORT_LIMIT);
    if (is_markdown) {
        settings_describe_markdown(&out);
    } else if (is_json) {
        settings_report_json(s, &out);
    } else {
        settings_report(s, &out);
    }
    return cli_print(&out);
}
