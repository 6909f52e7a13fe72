"""What the documentation site needs beside its pages: reference pages made from the code, and a Sphinx extension."""
