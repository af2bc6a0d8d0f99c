"""Did the feature split? The four criteria, the person's word, the verdict."""
