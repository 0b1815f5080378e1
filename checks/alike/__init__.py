"""What the work of two students has in common that neither the kit gave them nor everybody else wrote."""
