"""The jobs of a sweep: what each is (`book`), one of them in its process (`work`), all of them (`drive`), and where."""
