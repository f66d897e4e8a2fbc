/* The program's entry. */
#include <signal.h>

#include "cli/cli.h"

int main(int argc, char **argv)
{
#ifdef SIGXFSZ
    signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is an error of write, not the program's end */
#endif
    return cli_main(argc, argv);
}
