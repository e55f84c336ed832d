"""Real pickles, opened only in supervisors and jobs."""
