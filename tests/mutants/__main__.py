"""`make mutants`: a line per seeded bug, and finally `caught N of M`."""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
from pathlib import Path

from tqdm import tqdm

from mutants.mutant import tables
from mutants.runner import RigBroken, run_all, selections


def main() -> int:
    every = dict(tables(Path(__file__).parent))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=f"of {', '.join(every)} (default: all)")
    parser.add_argument("--only", default="", help="only mutants whose file and bug match this regular expression")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="parallel tests (default: one per CPU)")
    options = parser.parse_args()
    if unknown := set(options.tables) - set(every):
        parser.error(f"no table {', '.join(sorted(unknown))}; there are {', '.join(every)}")
    names = options.tables or every
    chosen = [mutant for name in names for mutant in every[name] if re.search(options.only, str(mutant))]
    verdicts = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        progress = tqdm(total=len(chosen) + len(selections(chosen)), unit="run", file=sys.stderr, disable=None)
        try:
            for verdict in run_all(chosen, Path(folder), max(1, options.jobs)):
                progress.update()
                if verdict is not None:
                    verdicts.append(verdict)
                    tqdm.write(str(verdict), file=sys.stdout)
                    sys.stdout.flush()
        except (RigBroken, ValueError) as error:
            progress.close()
            print(error, file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            progress.close()
            print(f"interrupted after {len(verdicts)} of {len(chosen)}", file=sys.stderr)
            return 130
        progress.close()
    caught = sum(verdict.caught_by is not None for verdict in verdicts)
    print(f"caught {caught} of {len(chosen)}")
    return 0 if all(verdict.is_expected for verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
