"""Entry point of the `tierbus` command. Services start without loading the rest of the command line: that is memory."""

import sys


def main() -> None:
    """Run a service directly, everything else through the command line."""
    if len(sys.argv) == 3 and sys.argv[1] == "serve" and not sys.argv[2].startswith("-"):  # noqa: PLR2004 - command, verb, name
        from tierbus.cli.build import serve

        raise SystemExit(serve(sys.argv[2]))
    from tierbus.cli.main import app

    app()


if __name__ == "__main__":
    main()
