"""How near the inner loops of the NEON kernels come to the multiply-add peak, by llvm-mca: nothing is run.

    python3 bench/neon_loops.py NAME=OBJECT ... [--check]     at the repository's root; NAME is the compiler's, OBJECT its neon.o

A loop is found by its function and by the fmla of one way round it, those of the full tile of src/kernels/neon.cpp:
of the ways that its branches allow, the shortest with a prefetch counts, or the shortest where there is none. Where
there are copies, the slowest counts. llvm-mca takes every load to hit the L1 and every branch to be predicted.
"""
import argparse
import re
import shutil
import subprocess
import sys

# Loop, functions that may hold it, (rows, vectors) in neon.cpp, steps of k (or keys) a way round.
LOOPS = [
    ('projection', r'::gemm_tiles<.*::Floats, {rows}, {vectors}>', ('gemm_rows', 'gemm_vectors'), 4),
    ('scores', r'::score_block<{rows}, {vectors},', ('score_rows', 'wide_vectors'), 4),
    ('scores', r'::score_block<{rows}, {vectors},', ('middle_score_rows', 'middle_vectors'), 4),
    ('values', r'::accumulate_lanes_from<{rows}, {vectors}, false>', ('value_rows', 'value_vectors'), 2),
]
# Share of the peak in each loop that --check asks for.
BOUNDS = {'neoverse-n1': (95, 90, 90, 90), 'cortex-a55': (62, 58, 58, 58)}

BRANCH = re.compile(r'(b|b\.\w+|cbn?z|tbn?z)$')
# What a full tile's loop has none of: lanes that are loaded one by one, broadcasts, calls.
OTHER = re.compile(r'\}\[|^ld1r|^dup|^bl |^ret')


def fail(message):
    sys.exit('neon_loops: ' + message)


def find_tool(*names):
    for name in names:
        if shutil.which(name):
            return name
    fail('needs one of: ' + ', '.join(names))


def run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0:
        fail(f'{" ".join(command)}: {done.stderr.strip()}')
    return done.stdout


class Instruction:
    def __init__(self, address, mnemonic, operands):
        self.address, self.mnemonic, self.target = address, mnemonic, None
        if BRANCH.match(mnemonic):
            self.target = int(re.search(r'([0-9a-f]+) <', operands).group(1), 16)
            operands = re.sub(r'(0x)?[0-9a-f]+ <.*', '.', operands)  # llvm-mca follows no branch
        self.text = f'{mnemonic} {operands}'


def functions_of(object_file, objdump):
    """{symbol: {address: Instruction}}."""
    functions, current = {}, None
    for line in run(objdump, '-d', '-C', '--no-show-raw-insn', object_file).splitlines():
        if found := re.match(r'[0-9a-f]+ <(.*)>:$', line):
            current = functions.setdefault(found.group(1), {})
        elif found := re.match(r'\s*([0-9a-f]+):\s+(\S+)\s*(.*?)(\s*//.*)?$', line):
            address = int(found.group(1), 16)
            current[address] = Instruction(address, found.group(2), found.group(3))
    return functions


def way_round(function, head, fmla):
    """The shortest way of so many fmla from head back to it, with a prefetch where there is such a way; or None."""
    found, seen, ways = {}, set(), [([head], 0, False)]
    for way, done, fetches in ways:  # which grows: breadth first
        instruction = function[way[-1]]
        if OTHER.search(instruction.text):
            continue
        done += instruction.mnemonic == 'fmla'
        fetches |= instruction.mnemonic == 'prfm'
        for address in ([] if instruction.mnemonic == 'b' else [way[-1] + 4]) + [instruction.target]:
            if address == head and done == fmla:
                found.setdefault(fetches, [function[a] for a in way])
            elif address in function and address not in way and done <= fmla and len(way) < 2 * fmla \
                    and (address, done, fetches) not in seen:
                seen.add((address, done, fetches))
                ways.append((way + [address], done, fetches))
    return found.get(True, found.get(False))


def ways_in(functions, pattern, fmla):
    for symbol, function in functions.items():
        if re.search(pattern, symbol):
            for head in {i.target for i in function.values() if i.target in function and i.target <= i.address}:
                if way := way_round(function, head, fmla):
                    yield '\n'.join(i.text for i in way)


def cycles(text, cpu, mca):
    """Of one way round: 500 more of them, without how they start and end."""
    totals = []
    for iterations in (100, 600):
        report = run(mca, '-mtriple=aarch64', '-mcpu=' + cpu, f'-iterations={iterations}', text=text)
        totals.append(int(re.search(r'Total Cycles:\s+(\d+)', report).group(1)))
    return (totals[1] - totals[0]) / 500


def tile(names):
    source = open('src/kernels/neon.cpp').read()
    sizes = [re.search(rf'\b{name} = (\d+)', source) for name in names]
    return [int(size.group(1)) if size else fail(f'src/kernels/neon.cpp has no {name}') for size, name in zip(sizes, names)]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('objects', nargs='+', metavar='NAME=OBJECT')
    parser.add_argument('--check', action='store_true', help='exit with 1 where a share is below its bound')
    arguments = parser.parse_args()
    mca = find_tool('llvm-mca-19', 'llvm-mca')
    objdump = find_tool('aarch64-linux-gnu-objdump', 'llvm-objdump-19', 'llvm-objdump')

    # The peak is what the same model makes of 16 multiply-adds that wait for nothing.
    independent = '\n'.join(f'fmla v{i}.4s, v30.4s, v31.s[{i % 4}]' for i in range(16))
    peaks = {cpu: 16 / cycles(independent, cpu, mca) for cpu in BOUNDS}
    if peaks['neoverse-n1'] < 1.9:
        fail(f'{mca} takes the Neoverse-N1 for another CPU, of {peaks["neoverse-n1"]:.2f} fmla a cycle: LLVM 19 has its model')
    print('llvm-mca, loads from the L1, branches predicted; never timed on hardware. Peak: '
          + ', '.join(f'{peak:.2f} fmla a cycle ({cpu})' for cpu, peak in peaks.items()))
    print('A step is one k, or one key, of a full tile.')
    print(f'{"compiler":10} {"loop":11} {"tile":>7} {"instructions":>13}'
          + ''.join(f'{cpu + ", cycles a step":>28} {"of peak":>8}' for cpu in BOUNDS))
    low = []
    for argument in arguments.objects:
        compiler, _, object_file = argument.partition('=')
        functions = functions_of(object_file, objdump)
        for index, (name, pattern, sizes, steps) in enumerate(LOOPS):
            rows, vectors = tile(sizes)
            pattern = pattern.replace('{rows}', str(rows)).replace('{vectors}', str(vectors))
            ways = list(ways_in(functions, pattern, rows * vectors * steps))
            if not ways:
                fail(f'{object_file}: no {name} loop of {steps} steps, {rows} x {vectors} vectors each')
            line = f'{compiler:10} {name:11} {f"{rows}x{vectors * 4}":>7} {max(len(w.splitlines()) for w in ways) / steps:13.2f}'
            for cpu, bounds in BOUNDS.items():
                step = max(cycles(way, cpu, mca) for way in ways) / steps
                share = 100 * rows * vectors / step / peaks[cpu]
                line += f'{step:28.2f} {share:6.1f} %'
                if share < bounds[index]:
                    low.append(f'{compiler}, {name}, {cpu}: {share:.1f} % of the peak, expected at least {bounds[index]}')
            print(line)
    if arguments.check and low:
        fail('\n'.join(low))


if __name__ == '__main__':
    main()
