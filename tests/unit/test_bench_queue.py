"""bench/run --scenario queue in its short form: it measures every cell, and loses no job."""
import json
import os
import subprocess
import sys
import tempfile
import unittest

BUILD, SOURCE = os.environ["EILPOST_BUILD"], os.environ["EILPOST_SOURCE"]


class QuickRun(unittest.TestCase):
    def test_every_figure_is_there(self):
        with tempfile.TemporaryDirectory(prefix="eilpost-test-") as folder:
            path = os.path.join(folder, "figures.json")
            done = subprocess.run([sys.executable, os.path.join(SOURCE, "bench", "run"), "--scenario", "queue", "--quick",
                                   "--quiet", "--build", BUILD, "--json", path],
                                  capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(path, encoding="utf-8") as file:
                figures = json.load(file)["figures"]
        for destinations in (1, 1000, 100000):
            self.assertGreater(figures[f"redis_cpu_us_per_job_10k_{destinations}"], 0)
            self.assertGreater(figures[f"leases_per_second_10k_{destinations}"], 0)
        self.assertGreaterEqual(figures["flatness"], 1)
        self.assertGreater(figures["always_over_everysec"], 0)


class Usage(unittest.TestCase):
    def refused(self, *arguments):
        done = subprocess.run([os.path.join(BUILD, "bench-queue"), *arguments], capture_output=True, text=True, check=False)
        self.assertEqual(done.returncode, 2, done.stderr)
        return done.stderr

    def test_mistakes_are_explained(self):
        self.assertIn("--redis", self.refused())
        self.assertIn("--drain", self.refused("--redis", "unix:///x", "--jobs", "10", "--drain", "20"))
        self.assertIn("destinations", self.refused("--redis", "unix:///x", "--jobs", "10", "--destinations", "20"))
        self.assertIn("--jobs", self.refused("--redis", "unix:///x", "--jobs", "many"))


if __name__ == "__main__":
    unittest.main()
